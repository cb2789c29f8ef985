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

# Sends one message with Email::Sender, which is Net::SMTP from Perl's core.
use strict;
use warnings;
use Email::Sender::Simple qw(sendmail);
use Email::Sender::Transport::SMTP;

my $transport = Email::Sender::Transport::SMTP->new({
    host          => 'localhost',
    port          => $ENV{SMTP_PORT},
    ssl           => 'starttls',
    ssl_options   => { SSL_ca_file => $ENV{SMTP_CA} },
    sasl_username => $ENV{SMTP_USER},
    sasl_password => $ENV{SMTP_PASSWORD},
});
my $message = join "\n",
    "From: $ENV{SMTP_FROM}", "To: $ENV{SMTP_TO}", "Subject: $ENV{SMTP_SUBJECT}",
    "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit",
    "", $ENV{SMTP_TEXT}, "";
sendmail($message, { transport => $transport, from => $ENV{SMTP_FROM}, to => [$ENV{SMTP_TO}] });
