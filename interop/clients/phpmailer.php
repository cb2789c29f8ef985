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

// Sends one message with PHPMailer as PHP applications do.
require 'libphp-phpmailer/autoload.php';

$m = new PHPMailer\PHPMailer\PHPMailer(true);
$m->isSMTP();
$m->Host = 'localhost';
$m->Port = (int) getenv('SMTP_PORT');
$m->SMTPAuth = true;
$m->SMTPSecure = PHPMailer\PHPMailer\PHPMailer::ENCRYPTION_STARTTLS;
$m->SMTPOptions = ['ssl' => ['cafile' => getenv('SMTP_CA')]];
$m->Username = getenv('SMTP_USER');
$m->Password = getenv('SMTP_PASSWORD');
$m->CharSet = 'UTF-8';
$m->setFrom(getenv('SMTP_FROM'));
$m->addAddress(getenv('SMTP_TO'));
$m->Subject = getenv('SMTP_SUBJECT');
$m->Body = getenv('SMTP_TEXT');
$m->send();
