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

package mscloud

import (
	"encoding/json"
	"slices"
	"strings"
)

// GraphError is what Graph says of a request that it refuses.
type GraphError struct {
	Code, Message string
	// Codes are all of its codes, the most precise last, in lower case.
	Codes []string
}

// maxInner bounds the errors in one another that are read.
const maxInner = 8

// ReadGraphError reads the body of an answer (https://learn.microsoft.com/graph/errors);
// nil if that is no error in Graph's form.
func ReadGraphError(body []byte) *GraphError {
	type inner struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		InnerError *inner `json:"innerError"`
	}
	var answer struct {
		Error *inner `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == nil {
		return nil
	}
	e := &GraphError{Code: answer.Error.Code, Message: answer.Error.Message}
	for in, depth := answer.Error, 0; in != nil && depth < maxInner; in, depth = in.InnerError, depth+1 {
		if in.Code != "" {
			e.Codes = append(e.Codes, strings.ToLower(in.Code))
		}
	}
	return e
}

// Said is code and message.
func (e *GraphError) Said() string { return strings.TrimSpace(e.Code + " " + e.Message) }

// Has reports whether that is one of its codes. There need be no error.
func (e *GraphError) Has(code string) bool { return e != nil && slices.Contains(e.Codes, code) }

// GraphProbe is the body of a sendMail request that cannot become a message: it is not
// base64. Graph says so, by GraphProbed, to who may send (assumed: the order of its
// checks is not documented).
const (
	GraphProbe  = "!"
	GraphProbed = "errormimecontentinvalidbase64string"
)
