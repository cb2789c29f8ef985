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
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf16"
)

// CountLines counts the lines of a file that are not empty, and goes back to
// its beginning. It is 0 for what cannot be read twice, such as a pipe.
func CountLines(file *os.File) (int, error) {
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	n, empty := 0, true
	buf := make([]byte, 64<<10)
	for {
		read, err := file.Read(buf)
		for _, o := range buf[:read] {
			switch {
			case o == '\n' || o == '\r':
				if !empty {
					n++
				}
				empty = true
			case o > ' ':
				empty = false
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if !empty {
		n++
	}
	_, err := file.Seek(0, io.SeekStart)
	return n, err
}

// HeadSize is how much of a file CheckFormat wants to see.
const HeadSize = 4 << 10

// CheckFormat says what a file is when it is not what it is said to be: from its
// beginning, and only where that leaves no doubt. The format is `jsonl` or
// another one of the import's.
func CheckFormat(format string, head []byte) error {
	text, what := textOf(head)
	if what != "" {
		return errors.New("this file is " + what)
	}
	text = strings.TrimSpace(text)
	is := kindOfText(text)
	if is == "" || is == format {
		return nil
	}
	return fmt.Errorf("this file is %s, not %s: import it with --format %s", called[is], called[format], is)
}

// called are the formats in a reader's words.
var called = map[string]string{
	"jsonl":              "JSON Lines (one account per line)",
	"predecessor":        "the predecessor's accounts.json",
	"csv":                "CSV",
	"email-oauth2-proxy": "a configuration file of email-oauth2-proxy",
	"postfix":            "Postfix's sasl_passwd",
}

// textOf decodes the beginning of a file, or says what it is that is no text.
func textOf(head []byte) (text, what string) {
	const asCSV = ": export it as text, in the format that --format names"
	switch {
	case len(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\ufeff")))) == 0:
		return "", "empty: it holds no account"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) && bytes.Contains(head, []byte("xl/")):
		return "", "an Excel workbook" + asCSV + " (Excel: Save as, CSV UTF-8)"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "", "an Excel workbook, another office document or a ZIP archive" + asCSV + " (Excel: Save as, CSV UTF-8)"
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0")):
		return "", "an Excel workbook of the old form, or another office document" + asCSV + " (Excel: Save as, CSV UTF-8)"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "", "compressed: unpack it first (gunzip)"
	case bytes.HasPrefix(head, []byte("SQLite format 3\x00")):
		return "", "a database of SQLite" + asCSV
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		units := make([]uint16, 0, len(head)/2)
		for i := 2; i+1 < len(head); i += 2 {
			if head[0] == 0xff {
				units = append(units, uint16(head[i])|uint16(head[i+1])<<8)
			} else {
				units = append(units, uint16(head[i+1])|uint16(head[i])<<8)
			}
		}
		return string(utf16.Decode(units)), ""
	case bytes.IndexByte(head, 0) >= 0 && len(head) > 3 && (head[1] == 0 || head[0] == 0):
		return "", "UTF-16 without a byte order mark: save it as UTF-8 (Notepad: Save as, Encoding: UTF-8)"
	case bytes.IndexByte(head, 0) >= 0:
		return "", "not text"
	}
	text = strings.TrimPrefix(string(head), "\ufeff")
	if low := strings.ToLower(strings.TrimSpace(text)); strings.HasPrefix(low, "<!doctype") || strings.HasPrefix(low, "<html") || strings.HasPrefix(low, "<?xml") {
		return "", "a web page or XML: what was saved is a page, perhaps that of a login, and not the export"
	}
	return text, ""
}

var section = regexp.MustCompile(`(?m)^\[[^\]\r\n"{]+\]\s*$`)

// kindOfText returns the format that a text can only be; "" where that is open.
func kindOfText(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	line, _, more := strings.Cut(text, "\n")
	line = strings.TrimSpace(line)
	var v any
	switch {
	case section.MatchString(text) && strings.Contains(text, "=") && (strings.Contains(text, "server_address") || strings.Contains(text, "token_url") || strings.Contains(text, "emailproxy")):
		return "email-oauth2-proxy"
	case strings.HasPrefix(text, "[") && strings.HasPrefix(strings.TrimSpace(text[1:]), "{"):
		return "predecessor"
	case strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &v) == nil:
		if m, ok := v.(map[string]any); ok && m["name"] != nil {
			return "jsonl"
		}
	case strings.HasPrefix(text, "{") && more && json.Unmarshal([]byte(line), &v) != nil && line == "{":
		return "predecessor"
	case !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "#") && strings.Count(line, ",") >= 3 && (strings.Contains(line, "@") || strings.HasPrefix(strings.ToLower(line), "email")):
		return "csv"
	}
	return ""
}
