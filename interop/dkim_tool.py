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

"""Signs or verifies a message with dkimpy: dkim_tool.py sign|verify SELECTOR DOMAIN FILE < message.

FILE holds the private key in PEM, or the TXT record.
"""

import sys

import dkim

action, selector, domain, file = sys.argv[1:5]
message = sys.stdin.buffer.read()
with open(file, "rb") as f:
    data = f.read()
if action == "sign":
    canonicalization = tuple(c.encode() for c in sys.argv[5].split("/"))
    sys.stdout.buffer.write(
        dkim.sign(message, selector.encode(), domain.encode(), data, canonicalize=canonicalization)
    )
else:
    name = f"{selector}._domainkey.{domain}."
    ok = dkim.verify(message, dnsfunc=lambda asked, timeout=5: data if asked.decode() == name else None)
    sys.exit(0 if ok else "the signature does not verify")
