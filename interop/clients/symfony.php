<?php
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

// Sends one message with Symfony's mailer, which Laravel uses too.
require 'Symfony/Component/Mailer/autoload.php';

use Symfony\Component\Mailer\Transport\Smtp\EsmtpTransport;
use Symfony\Component\Mime\Email;

$t = new EsmtpTransport('localhost', (int) getenv('SMTP_PORT'), false);
$t->getStream()->setStreamOptions(['ssl' => ['cafile' => getenv('SMTP_CA')]]);
$t->setUsername(getenv('SMTP_USER'));
$t->setPassword(getenv('SMTP_PASSWORD'));
$t->send((new Email())->from(getenv('SMTP_FROM'))->to(getenv('SMTP_TO'))
    ->subject(getenv('SMTP_SUBJECT'))->text(getenv('SMTP_TEXT')));
