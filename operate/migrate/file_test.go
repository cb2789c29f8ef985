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

package migrate

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	fileJSONL = `{"name": "a@example.com", "upstream": "gmail"}` + "\n" + `{"name": "b@example.com", "upstream": "gmail"}` + "\n"
	fileCSV   = "a@example.com,A1,token,client.apps.googleusercontent.com\n"
	fileProxy = "[Server setup]\n\n[SMTP-1465]\nserver_address = smtp.gmail.com\nserver_port = 465\n\n[a@example.com]\ntoken_url = https://oauth2.googleapis.com/token\n"
	filePred  = "[\n  {\"email\": \"a@example.com\"}\n]\n"
)

func encoded(order binary.ByteOrder, mark bool, s string) string {
	units := utf16.Encode([]rune(s))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	out := make([]byte, 2*len(units))
	for i, u := range units {
		order.PutUint16(out[2*i:], u)
	}
	return string(out)
}

// TestCheckFormat hands each format's file to each format's import, and files
// that are of none.
func TestCheckFormat(t *testing.T) {
	files := map[string]string{"jsonl": fileJSONL, "csv": fileCSV, "email-oauth2-proxy": fileProxy, "predecessor": filePred}
	for said := range files {
		for is, text := range files {
			for name, body := range map[string]string{
				"plain": text, "mark": "\ufeff" + text, "Windows": strings.ReplaceAll(text, "\n", "\r\n"), "CR": strings.ReplaceAll(text, "\n", "\r"),
				"UTF-16 LE": encoded(binary.LittleEndian, true, text), "UTF-16 BE": encoded(binary.BigEndian, true, text),
			} {
				err := CheckFormat(said, []byte(body))
				switch {
				case said == is && err != nil:
					t.Errorf("%s as %s: %v", is, said, err)
				case said != is && (err == nil || !strings.Contains(err.Error(), "--format "+is)):
					t.Errorf("%s as %s (%s): %v", is, said, name, err)
				}
			}
		}
		for want, body := range map[string]string{
			"is empty":              " \r\n",
			"an Excel workbook:":    "PK\x03\x04\x14\x00\x06\x00xl/workbook.xml",
			"of the old form":       "\xd0\xcf\x11\xe0\xa1\xb1",
			"UTF-16 without a byte": encoded(binary.LittleEndian, false, fileCSV),
			"gunzip":                "\x1f\x8b\x08\x00",
			"a web page":            "<!DOCTYPE html><title>Sign in</title>",
			"a database of SQLite":  "SQLite format 3\x00",
			"not text":              "\x89PNG\r\n\x1a\n\x00\x00",
		} {
			if err := CheckFormat(said, []byte(body)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q as %s: %v, want %q", body, said, err, want)
			}
		}
		// What may be it is left to the import, which knows line and field.
		for _, body := range []string{"# accounts\n", "{\"nme\": 1}\n", "a;b;c\n", "scanner@example.com\n"} {
			if err := CheckFormat(said, []byte(body)); err != nil {
				t.Errorf("%q as %s: %v", body, said, err)
			}
		}
	}
}
