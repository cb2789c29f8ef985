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

package envelope

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxHeader bounds a header. Exchange takes no larger one
// (https://learn.microsoft.com/exchange/mail-flow/message-size-limits), and of a
// message that is not read whole so much is kept before it leaves.
const maxHeader = 256 << 10

// ErrHeaderSize says that a header is larger than what is read of one.
var ErrHeaderSize = errors.New("the header is larger than 256 KiB")

// FitStream is Fit for a message that is not kept: it reads the header and
// returns the whole, as it shall leave. A reader's error is returned as it is.
func FitStream(r io.Reader, rcpts []string, rewrite bool) (*Message, io.Reader, error) {
	br := bufio.NewReaderSize(r, 4<<10) // what is read with a larger buffer is read past it
	var head []byte
	for {
		line, err := br.ReadSlice('\n')
		head = append(head, line...)
		switch {
		case len(head) > maxHeader:
			return nil, nil, &ParseError{err: ErrHeaderSize}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF: // all of it is header, or its last line has no end
			m, err := Fit(head, rcpts, rewrite)
			if err != nil {
				return nil, nil, err
			}
			return m, io.MultiReader(bytes.NewReader(m.Head), bytes.NewReader(m.Rest)), nil
		case err != nil:
			return nil, nil, err
		}
		if string(line) != "\r\n" || len(head) > 2 && !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			continue
		}
		m, err := Fit(head, rcpts, rewrite)
		if err != nil {
			return nil, nil, err
		}
		return m, io.MultiReader(bytes.NewReader(m.Head), bytes.NewReader(m.Rest), br), nil
	}
}
