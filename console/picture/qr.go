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

package picture

import (
	"fmt"

	"rsc.io/qr"
)

// Square is a dark one of a QR code.
type Square struct{ X, Y int }

// quietZone is the empty border that a QR code needs (ISO/IEC 18004 section 9.1).
const quietZone = 4

func QR(text string) ([]Square, int, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil, 0, fmt.Errorf("the QR code: %w", err)
	}
	var list []Square
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				list = append(list, Square{x + quietZone, y + quietZone})
			}
		}
	}
	return list, code.Size + 2*quietZone, nil
}
