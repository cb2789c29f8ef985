// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.


// Sends messages with nodemailer's pooled transport, as a JSON job on stdin
// says, all at once. The answer, on stdout, is what the server said to each.

import nodemailer from "nodemailer";
import { readFileSync } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const transport = nodemailer.createTransport({
  host: "localhost",
  port: job.port,
  secure: job.implicit,
  requireTLS: !job.implicit,
  tls: { ca: readFileSync(job.ca_file) },
  auth: { user: job.user, pass: job.password, method: job.method },
  pool: true,
  maxConnections: job.connections,
  maxMessages: 1000,
});

const answers = await Promise.all(
  job.messages.map((m) =>
    transport
      .sendMail({ envelope: { from: m.from, to: m.to }, raw: Buffer.from(m.data, "base64") })
      .then(
        (info) => ({
          response: info.response,
          accepted: info.accepted,
          rejected: info.rejected,
          errors: (info.rejectedErrors ?? []).map((e) => e.response),
        }),
        (err) => ({ error: err.response ?? String(err) }),
      ),
  ),
);
transport.close();
console.log(JSON.stringify(answers));
