# Copyright 2026 The Mailgateway Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Sends messages with Python's smtplib, as a JSON job on stdin says.

The answer, on stdout, is a list with what the server said for each message.
"""

import base64
import json
import smtplib
import ssl
import sys


def main():
    job = json.load(sys.stdin)
    context = ssl.create_default_context(cafile=job["ca_file"])
    if job["tls"] == "implicit":
        client = smtplib.SMTP_SSL("localhost", job["port"], context=context, timeout=60)
    else:
        client = smtplib.SMTP("localhost", job["port"], timeout=60)
    if job["tls"] == "starttls":
        client.starttls(context=context)
    client.ehlo()
    client.user, client.password = job["user"], job["password"]
    method = client.auth_plain if job["mechanism"] == "PLAIN" else client.auth_login
    client.auth(job["mechanism"], method, initial_response_ok=job.get("initial_response", True))

    answers = []
    for message in job["messages"]:
        try:
            refused = client.sendmail(
                message["from"],
                message["to"],
                base64.b64decode(message["data"]),
                mail_options=message.get("mail_options", []),
                rcpt_options=message.get("rcpt_options", []),
            )
            answers.append({"refused": {to: [code, text.decode()] for to, (code, text) in refused.items()}})
        except smtplib.SMTPResponseException as e:
            answers.append({"error": [e.smtp_code, e.smtp_error.decode()]})
        except smtplib.SMTPRecipientsRefused as e:
            answers.append({"error": {to: [code, text.decode()] for to, (code, text) in e.recipients.items()}})
    client.quit()
    json.dump(answers, sys.stdout)


main()
