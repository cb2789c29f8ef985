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

package testpki

import (
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"reflect"
	"unsafe"
)

// Ticket seals a session ticket (RFC 8446 section 4.6.1) as c, a server's side in
// TLS 1.3, would send it next: a record that is TLS's own, for a test to send when
// and in what pieces it likes. Go's server has no way to send one behind its
// handshake. Nothing may be written to c meanwhile.
func Ticket(c *tls.Conn) []byte {
	const typeHandshake, typeTicket, typeApplication = 22, 4, 23
	inner := []byte{
		typeTicket, 0, 0, 14, // and its length
		0, 0, 0, 60, 0, 0, 0, 0, // lifetime and age
		0,       // no nonce
		0, 1, 0, // a ticket of one octet
		0, 0, // no extensions
		typeHandshake,
	}
	out := reflect.ValueOf(c).Elem().FieldByName("out")
	//nolint:gosec // what crypto/tls does not export
	aead := (*(*any)(unsafe.Pointer(out.FieldByName("cipher").UnsafeAddr()))).(cipher.AEAD)
	seq := (*[8]byte)(unsafe.Pointer(out.FieldByName("seq").UnsafeAddr())) //nolint:gosec // the same
	head := []byte{typeApplication, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(inner)+aead.Overhead())) //nolint:gosec // small
	record := aead.Seal(head, seq[:], inner, head)
	binary.BigEndian.PutUint64(seq[:], binary.BigEndian.Uint64(seq[:])+1)
	return record
}
