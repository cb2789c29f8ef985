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

# Sends one message with Ruby's own Net::SMTP, as Rails does.
require 'net/smtp'

context = Net::SMTP.default_ssl_context
context.ca_file = ENV['SMTP_CA']
smtp = Net::SMTP.new('localhost', ENV['SMTP_PORT'].to_i)
smtp.enable_starttls(context)
smtp.start('client.test', ENV['SMTP_USER'], ENV['SMTP_PASSWORD'], :plain) do |s|
  s.send_message(<<~MESSAGE, ENV['SMTP_FROM'], [ENV['SMTP_TO']])
    From: #{ENV['SMTP_FROM']}
    To: #{ENV['SMTP_TO']}
    Subject: #{ENV['SMTP_SUBJECT']}
    MIME-Version: 1.0
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: 8bit

    #{ENV['SMTP_TEXT']}
  MESSAGE
end
