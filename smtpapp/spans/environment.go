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

package spans

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// CheckEnvironment checks what the environment says, unless it switches tracing off. The
// libraries would go on without what they do not understand, and some would write it to
// the standard error, secrets included.
func CheckEnvironment() error {
	if Disabled() {
		return nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		if err := checkHeaders(os.Getenv(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		switch v := os.Getenv(name); v {
		case "", "grpc", "http/protobuf":
		default:
			return fmt.Errorf("%s: unrecognized value '%s', want grpc or http/protobuf", name, v)
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if v := os.Getenv(name); v != "" {
			// An error of the parser would quote what may be a password.
			if u, err := url.Parse(v); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				return fmt.Errorf("%s: not a URL with http or https", name)
			}
		}
	}
	return checkSampler(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG"))
}

// checkHeaders checks `key=value,key=value`. Its errors quote nothing.
func checkHeaders(list string) error {
	if list == "" {
		return nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
		}) {
			return errors.New("malformed, want name=value, separated by commas")
		}
		if _, err := url.PathUnescape(value); err != nil {
			return errors.New("malformed value, a percent sign is written %25")
		}
	}
	return nil
}

var samplers = []string{
	"always_on", "always_off", "traceidratio",
	"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
}

func checkSampler(sampler, arg string) error {
	sampler = strings.ToLower(strings.TrimSpace(sampler))
	if sampler == "" {
		return nil
	}
	if !slices.Contains(samplers, sampler) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER: unrecognized value '%s', want one of %s", sampler, strings.Join(samplers, ", "))
	}
	if arg = strings.TrimSpace(arg); arg != "" && strings.HasSuffix(sampler, "traceidratio") {
		if f, err := strconv.ParseFloat(arg, 64); err != nil || !(f >= 0 && f <= 1) {
			return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: '%s' is not a number from 0 to 1", arg)
		}
	}
	return nil
}

// Disabled reports whether the environment switches tracing off.
func Disabled() bool {
	return strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_SDK_DISABLED")), "true")
}
