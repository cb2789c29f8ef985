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

"""Sends one message with Django's mail module."""

import os
import ssl

from django.conf import settings

env = os.environ
settings.configure(
    EMAIL_HOST="localhost",
    EMAIL_PORT=int(env["SMTP_PORT"]),
    EMAIL_HOST_USER=env["SMTP_USER"],
    EMAIL_HOST_PASSWORD=env["SMTP_PASSWORD"],
    EMAIL_USE_TLS=True,
)

from django.core.mail import EmailMessage, get_connection  # noqa: E402

# Django 3.2 checks no certificate unless it is told to.
os.environ["SSL_CERT_FILE"] = env["SMTP_CA"]
assert ssl.get_default_verify_paths().cafile == env["SMTP_CA"]
EmailMessage(
    env["SMTP_SUBJECT"], env["SMTP_TEXT"], env["SMTP_FROM"], [env["SMTP_TO"]], connection=get_connection()
).send()
