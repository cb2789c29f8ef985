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

// Package service has the commands that make the gateway a service of Windows.
package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/command/output"
	"github.com/caddymail/mailgateway/internal/winservice"
)

// openServices is Windows, or what a test puts in its place.
var openServices = winservice.Open

// Command makes `smtp service`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Makes the gateway a service of Windows",
		Long: `
Makes the gateway a service of Windows, which starts with the machine. It runs
with an account of its own that is no administrator. Its errors appear in the
event log, and everything in C:\ProgramData\Mailgateway\log.

An administrator runs these commands.`,
	}
	cmd.AddCommand(installCommand(), uninstallCommand(), statusCommand())
	return cmd
}

// programData is the folder of configuration, data and logs.
func programData() string {
	root := os.Getenv("ProgramData")
	if root == "" {
		root = `C:\ProgramData`
	}
	return strings.TrimRight(root, `\`) + `\Mailgateway`
}

func installCommand() *cobra.Command {
	var ports string
	var start bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Registers the service",
		Long: `
Registers the service for the program as it lies: put it where it will stay, as
in C:\Program Files\Mailgateway, and run this there.

The configuration is --config, else C:\ProgramData\Mailgateway\Caddyfile; if there
is none, it begins as the example beside the program, a sandbox on loopback.`,
		Example: `  mailgateway smtp service install --firewall 587 --start`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := openServices()
			if err != nil {
				return err
			}
			o := winservice.Options{
				Folder:  programData(),
				Start:   start,
				Private: []string{os.Getenv("USERPROFILE"), os.Getenv("TEMP"), os.Getenv("PUBLIC")},
			}
			if o.Exe, err = os.Executable(); err != nil {
				return fmt.Errorf("finding the program: %w", err)
			}
			if o.Config, _ = cmd.Flags().GetString("config"); o.Config != "" {
				// The service runs in another directory.
				if o.Config, err = filepath.Abs(o.Config); err != nil {
					return fmt.Errorf("--config: %w", err)
				}
			}
			if o.Ports, err = winservice.Ports(ports); err != nil {
				return fmt.Errorf("--firewall: %w", err)
			}
			if err := winservice.Install(sys, o); err != nil {
				return err
			}
			state, err := sys.Query(winservice.Name)
			if err != nil {
				return err
			}
			return printService(cmd, state)
		},
	}
	cmd.Flags().StringVar(&ports, "firewall", "", "Ports to open for domain and private networks, as in 25,587")
	cmd.Flags().BoolVar(&start, "start", false, "Start the service at once")
	return cmd
}

func uninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Stops and removes the service, and keeps its files",
		Long: `
Stops the service after the messages that are under way, and removes it, its
firewall rule and its entry in the event log. Configuration, data and logs stay.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := openServices()
			if err != nil {
				return err
			}
			if err := winservice.Uninstall(sys); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed; %s is as it was\n", programData())
			return err
		},
	}
}

func statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Shows the service's state, and where its files are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := openServices()
			if err != nil {
				return err
			}
			state, err := sys.Query(winservice.Name)
			if err != nil {
				return err
			}
			return printService(cmd, state)
		},
	}
}

func printService(cmd *cobra.Command, s winservice.State) error {
	if output.WantsJSON(cmd) {
		return output.JSON(cmd, s)
	}
	start := "by hand"
	if s.Automatic {
		start = "with the machine"
	}
	return output.Table(cmd, [][]string{
		{"state", s.State}, {"starts", start}, {"account", s.Account}, {"command", s.Command}, {"log", s.Log()},
	})
}
