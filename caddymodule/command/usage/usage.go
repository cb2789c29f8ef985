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

// Package usage is how the subcommands of `caddy smtp` are called: what is missing,
// too much, mistyped or contradictory is refused in words of its own, before a
// command does anything. It keeps no state.
package usage

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// The annotations of commands.
const (
	noJSON  = "mailgateway_no_json"
	against = "mailgateway_against" // pairs of flags
	needs   = "mailgateway_needs"   // pairs of flags
)

func annotate(cmd *cobra.Command, key, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[key] = strings.TrimSpace(cmd.Annotations[key] + " " + value)
}

// NoJSON marks a command whose output is no JSON.
func NoJSON(cmd *cobra.Command) *cobra.Command {
	annotate(cmd, noJSON, "yes")
	return cmd
}

// Exclusive marks flags that contradict each other: the first and any of the others.
func Exclusive(cmd *cobra.Command, flag string, others ...string) {
	for _, other := range others {
		annotate(cmd, against, flag+":"+other)
	}
}

// Needs marks a flag that means nothing without another one.
func Needs(cmd *cobra.Command, flag, other string) { annotate(cmd, needs, flag+":"+other) }

// Check sees to it that all commands beneath refuse what they are called with
// wrongly. It is called once all of them are there.
func Check(cmd *cobra.Command) {
	refuseUnknown(cmd)
	cmd.SetFlagErrorFunc(flagError)
	wrap(cmd)
}

func wrap(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		wrap(c)
	}
	if cmd.HasSubCommands() {
		return
	}
	accepts := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := flags(cmd); err != nil {
			return err
		}
		for _, a := range args {
			if strings.TrimSpace(a) == "" {
				return fmt.Errorf("an argument is empty: %s", line(cmd))
			}
		}
		if accepts == nil {
			return nil
		}
		err := accepts(cmd, args)
		switch {
		case err == nil:
			return nil
		case accepts(cmd, append(args, "x")) == nil || len(args) == 0:
			return fmt.Errorf("an argument is missing: %s", line(cmd))
		}
		for n := range args {
			if accepts(cmd, args[:n]) == nil && accepts(cmd, args[:n+1]) != nil {
				return fmt.Errorf("'%s' is too much: %s", args[n], line(cmd))
			}
		}
		return err
	}
}

// NameBinary lets a command's texts have the name that the binary was called by:
// Caddy's root is called caddy.
func NameBinary(cmd *cobra.Command) {
	if root := cmd.Root(); root != cmd && invoked.Own() {
		annotate(root, cobra.CommandDisplayNameAnnotation, "")
		root.Annotations[cobra.CommandDisplayNameAnnotation] = "mailgateway"
		cmd.Long, cmd.Example = invoked.Words(cmd.Long), invoked.Words(cmd.Example)
	}
}

// refuseUnknown makes commands that only hold others fail on a name that none
// has. Cobra shows the help and succeeds, so that a script with a mistyped
// command would go on.
func refuseUnknown(cmd *cobra.Command) {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
		refuseUnknown(c)
	}
	if names == nil || cmd.Runnable() {
		return
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		NameBinary(cmd)
		return fmt.Errorf("there is no command '%s %s', only %s%s", cmd.CommandPath(), args[0], strings.Join(names, ", "), nearest.Hint(args[0], names))
	}
}

// line is how a command is called.
func line(cmd *cobra.Command) string {
	NameBinary(cmd)
	return strings.TrimSuffix(cmd.UseLine(), " [flags]")
}

// flags checks those that belong together.
func flags(cmd *cobra.Command) error {
	NameBinary(cmd)
	given := cmd.Flags().Changed
	if given("json") && cmd.Annotations[noJSON] != "" {
		return fmt.Errorf("--json: %s prints no JSON", cmd.CommandPath())
	}
	for pair := range strings.FieldsSeq(cmd.Annotations[against]) {
		if a, b, _ := strings.Cut(pair, ":"); given(a) && given(b) {
			return fmt.Errorf("--%s and --%s contradict each other: give one of them", a, b)
		}
	}
	for pair := range strings.FieldsSeq(cmd.Annotations[needs]) {
		if a, b, _ := strings.Cut(pair, ":"); given(a) && !given(b) {
			return fmt.Errorf("--%s means nothing without --%s", a, b)
		}
	}
	var missing error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if missing == nil && !f.Changed && len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 {
			missing = fmt.Errorf("--%s is missing: %s", f.Name, line(cmd))
		}
	})
	return missing
}

// ofGo is what is told of values by the functions of Go that read them.
var ofGo = regexp.MustCompile(`strconv\.\w+: parsing "[^"]*": `)

// flagError puts an error of the flags' parser into better words.
func flagError(cmd *cobra.Command, err error) error {
	NameBinary(cmd)
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		text := ofGo.ReplaceAllString(err.Error(), "")
		text = strings.ReplaceAll(text, "invalid syntax", "it is no number")
		if strings.Contains(text, "invalid duration") || strings.Contains(text, "in duration") {
			text += ", want one as in 90s or 10m"
		}
		return errors.New(text)
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("there is no flag -%s: %s --help has all", name, cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return fmt.Errorf("there is no flag --%s%s: %s --help has all", name, nearest.Hint(name, names), cmd.CommandPath())
}

// Admin makes an address of the admin API complete, as people write it.
func Admin(address string) (string, error) {
	scheme, rest, isURL := strings.Cut(address, "://")
	if path, ok := strings.CutPrefix(address, "unix:"); ok { // as Docker and others write it
		return "unix//" + strings.TrimLeft(path, "/"), nil
	}
	switch {
	case strings.HasPrefix(address, "/"):
		return "unix/" + address, nil // the socket's file
	case address == "" || strings.Contains(address, "/") && !isURL:
		return address, nil // the default, or a network of Caddy's as in unix//run/admin.sock
	case isURL && scheme != "http":
		return "", fmt.Errorf("'%s': the admin API speaks HTTP: want HOST:PORT, as in localhost:2019", address)
	case isURL:
		address = strings.TrimRight(rest, "/")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" || strings.Contains(host, "/") {
		return "", fmt.Errorf("'%s' is no address of an admin API: want HOST:PORT, as in localhost:2019, or unix//PATH", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", fmt.Errorf("'%s' has a port that is none: want HOST:PORT, as in localhost:2019", address)
	}
	if host == "" {
		host = "localhost" // of the configuration's `admin :2019`, too
	}
	return net.JoinHostPort(host, port), nil
}
