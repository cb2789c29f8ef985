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

package extensions

import "bytes"

// Set is the service extensions that a provider announced. Sets can be compared.
type Set struct {
	Pipelining, Chunking, EightBit, Binary, UTF8, DSN, StartTLS, Size bool
	// Auth is announced with mechanisms, known here or not.
	Auth bool

	xoauth2, oauthBearer, plain, login bool
}

// Line takes one keyword of the reply to EHLO (RFC 5321 section 4.1.1.1).
func (s *Set) Line(text []byte) {
	keyword, params, _ := bytes.Cut(text, []byte(" "))
	// Some old servers write `AUTH=LOGIN`, alone or in addition.
	if len(keyword) > 5 && bytes.EqualFold(keyword[:5], []byte("AUTH=")) {
		s.mechanisms(keyword[5:])
		s.mechanisms(params)
		return
	}
	switch string(bytes.ToUpper(keyword)) {
	case "PIPELINING":
		s.Pipelining = true
	case "CHUNKING":
		s.Chunking = true
	case "8BITMIME":
		s.EightBit = true
	case "8": // `8 BITMIME`, as Yahoo has written it
		s.EightBit = s.EightBit || bytes.EqualFold(params, []byte("BITMIME"))
	case "BINARYMIME":
		s.Binary = true
	case "SMTPUTF8":
		s.UTF8 = true
	case "DSN":
		s.DSN = true
	case "STARTTLS":
		s.StartTLS = true
	case "SIZE":
		s.Size = true // how much it takes, it says at MAIL
	case "AUTH":
		s.mechanisms(params)
	}
}

func (s *Set) mechanisms(list []byte) {
	for m := range bytes.FieldsSeq(list) {
		s.Auth = true
		switch string(bytes.ToUpper(m)) {
		case "XOAUTH2":
			s.xoauth2 = true
		case "OAUTHBEARER":
			s.oauthBearer = true
		case "PLAIN":
			s.plain = true
		case "LOGIN":
			s.login = true
		}
	}
}

// Offers reports whether the provider announced the mechanism, in lower case.
func (s *Set) Offers(mechanism string) bool {
	switch mechanism {
	case "xoauth2":
		return s.xoauth2
	case "oauthbearer":
		return s.oauthBearer
	case "plain":
		return s.plain
	case "login":
		return s.login
	}
	return false
}
