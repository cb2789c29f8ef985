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
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/chacha20poly1305"
)

// Types of records (RFC 8446 section 5.1).
const (
	Alert       = 21
	Handshake   = 22
	Application = 23
)

// Record seals what c, a server's side in TLS 1.3, would send next, as a record of
// that type: for a test to send when and in what pieces it likes what Go's server
// never sends. Nothing may be written to c meanwhile.
func Record(c *tls.Conn, kind byte, content []byte) []byte {
	aead := *field[any](c, "cipher")
	seq := field[[8]byte](c, "seq")
	inner := append(append([]byte(nil), content...), kind)
	head := []byte{Application, 3, 3, 0, 0}
	sealer := aead.(cipher.AEAD)                                               //nolint:forcetypeassert // TLS 1.3 has no other
	binary.BigEndian.PutUint16(head[3:], uint16(len(inner)+sealer.Overhead())) //nolint:gosec // small
	record := sealer.Seal(head, seq[:], inner, head)
	binary.BigEndian.PutUint64(seq[:], binary.BigEndian.Uint64(seq[:])+1)
	return record
}

// Ticket is a session ticket (RFC 8446 section 4.6.1) as a Record. Go's server has no
// way to send one behind its handshake.
func Ticket(c *tls.Conn) []byte {
	return Record(c, Handshake, []byte{
		4, 0, 0, 14, // and its length
		0, 0, 0, 60, 0, 0, 0, 0, // lifetime and age
		0,       // no nonce
		0, 1, 0, // a ticket of one octet
		0, 0, // no extensions
	})
}

// KeyUpdate is the Record that announces another key (RFC 8446 section 4.6.3), which
// c uses from then on. With asks the other side is to do the same.
func KeyUpdate(c *tls.Conn, asks bool) []byte {
	content := []byte{24, 0, 0, 1, 0}
	if asks {
		content[4] = 1
	}
	record := Record(c, Handshake, content)

	newHash, size, seal := sha256.New, 16, gcm
	switch c.ConnectionState().CipherSuite {
	case tls.TLS_AES_256_GCM_SHA384:
		newHash, size = sha512.New384, 32
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		size, seal = 32, chacha20poly1305.New
	}
	secret := field[[]byte](c, "trafficSecret")
	*secret = expand(newHash, *secret, "traffic upd", newHash().Size())
	aead, err := seal(expand(newHash, *secret, "key", size))
	must(err)
	// What Go has there is a mask for the nonce and the algorithm.
	in := reflect.ValueOf(*field[any](c, "cipher")).Elem()
	copy((*[12]byte)(at(in.FieldByName("nonceMask")))[:], expand(newHash, *secret, "iv", 12))
	*(*cipher.AEAD)(at(in.FieldByName("aead"))) = aead
	*field[[8]byte](c, "seq") = [8]byte{}
	return record
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// expand is HKDF-Expand-Label without context (RFC 8446 section 7.1).
func expand(newHash func() hash.Hash, secret []byte, label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(size), byte(len(label))}, label...) //nolint:gosec // small
	out, err := hkdf.Expand(newHash, secret, string(append(info, 0)), size)
	must(err)
	return out
}

// field is one of what c writes with, which crypto/tls does not export.
func field[T any](c *tls.Conn, name string) *T {
	return (*T)(at(reflect.ValueOf(c).Elem().FieldByName("out").FieldByName(name)))
}

func at(v reflect.Value) unsafe.Pointer { return unsafe.Pointer(v.UnsafeAddr()) } //nolint:gosec // see field
