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

package lint

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerfile = dist + "/Dockerfile"

// offline knows no image: each is an empty one of the wanted platform.
type offline struct{}

func (offline) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config, err := json.Marshal(ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}})
	return ref, digest.FromString(ref), config, err
}

// TestDockerfileLint runs BuildKit's own linter, the experimental rules too,
// and converts the file as a build does.
func TestDockerfileLint(t *testing.T) {
	for _, broken := range []string{"", "FROM scratch\nMAINTAINER nobody\nCMD run me\n"} {
		text := []byte(broken)
		if broken == "" {
			text = []byte(read(t, dockerfile))
		}
		warnings := 0
		source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", text)
		definition, err := llb.Scratch().File(llb.Mkfile("Dockerfile", 0o644, text)).Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		source.Definition = definition
		opt := dockerfile2llb.ConvertOpt{
			MetaResolver:   offline{},
			SourceMap:      source,
			TargetPlatform: &ocispecs.Platform{OS: "linux", Architecture: "arm64"},
			Config:         dockerui.Config{BuildPlatforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}},
		}
		results, err := dockerfile2llb.DockerfileLint(t.Context(), append([]byte("# check=experimental=all\n"), text...), opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range results.Warnings {
			warnings++
			if broken == "" {
				t.Errorf("%s: %s (%s)", w.RuleName, w.Detail, w.URL)
			}
		}
		if results.Error != nil && broken == "" {
			t.Error(results.Error.Message)
		}
		if broken != "" && warnings < 2 {
			t.Errorf("the linter finds %d faults in a Dockerfile that has two", warnings)
		}
	}
}

// stages are the Dockerfile's, parsed.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	f, err := os.Open(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// image is what the last stage says of the container.
type image struct {
	user, healthcheck, entrypoint, cmd []string
	copies                             map[string]string // what is copied from the context, to where
	ports                              []string
	env                                map[string]string
}

func theImage(t *testing.T) image {
	t.Helper()
	all := stages(t)
	img := image{copies: map[string]string{}, env: map[string]string{}}
	for _, c := range all[len(all)-1].Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			img.user = []string{c.User}
		case *instructions.HealthCheckCommand:
			if c.Health.Test[0] != "CMD" {
				t.Fatalf("HEALTHCHECK %v needs a shell, and the image has none", c.Health.Test)
			}
			img.healthcheck = c.Health.Test[1:]
		case *instructions.EntrypointCommand:
			img.entrypoint = c.CmdLine
			if c.PrependShell {
				t.Error("ENTRYPOINT needs a shell")
			}
		case *instructions.CmdCommand:
			img.cmd = c.CmdLine
			if c.PrependShell {
				t.Error("CMD needs a shell")
			}
		case *instructions.CopyCommand:
			for _, source := range c.SourcePaths {
				if c.From == "" {
					img.copies[source] = c.DestPath
				}
			}
		case *instructions.ExposeCommand:
			img.ports = c.Ports
		case *instructions.EnvCommand:
			for _, kv := range c.Env {
				img.env[kv.Key] = kv.Value
			}
		case *instructions.RunCommand:
			t.Error("RUN in the last stage, which has no shell")
		}
	}
	return img
}

func TestImageRunsAsNobody(t *testing.T) {
	img := theImage(t)
	// By number: the kubelet cannot check runAsNonRoot for a name.
	if len(img.user) != 1 || !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(img.user[0]) {
		t.Errorf("USER %v: want numbers other than 0", img.user)
	}
	base := stages(t)[len(stages(t))-1].BaseName
	if !strings.Contains(base, "distroless") && base != "scratch" {
		t.Errorf("the image is made from %s", base)
	}
	if img.env["XDG_DATA_HOME"] != "/data" || img.env["XDG_CONFIG_HOME"] != "/config" {
		t.Errorf("ENV %v", img.env)
	}
}

// TestImageGoVersion holds that the Go that builds the image is as new as
// go.mod asks for.
func TestImageGoVersion(t *testing.T) {
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, root+"/go.mod"))[1]
	if base := stages(t)[0].BaseName; !strings.HasPrefix(base, "golang:"+want+"-") {
		t.Errorf("built with %s, and go.mod says go %s", base, want)
	}
}

// TestImageBuildIsTheRelease holds that image and release are built with the
// same tags and linker flags.
func TestImageBuildIsTheRelease(t *testing.T) {
	script := strings.NewReplacer("tags: [nobadger, nomysql, nopgx, grpcnotrace]", "-tags=nobadger,nomysql,nopgx,grpcnotrace").Replace(read(t, root+"/.goreleaser.yaml"))
	text := read(t, dockerfile)
	for _, word := range []string{"-trimpath", "-tags=nobadger,nomysql,nopgx,grpcnotrace", "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion=mailgateway-"} {
		if !strings.Contains(script, word) || !strings.Contains(text, word) {
			t.Errorf("%s is not in both Dockerfile and .goreleaser.yaml", word)
		}
	}
}

// buildContext are the files that .dockerignore lets into the build, and
// their size in bytes, of those that git knows.
func buildContext(t *testing.T) (map[string]bool, int64) {
	t.Helper()
	f, err := os.Open(root + "/.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]bool)
	var size int64
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		name = filepath.ToSlash(name)
		skip, err := ignored.MatchesOrParentMatches(name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skip {
				return filepath.SkipDir
			}
			return nil
		}
		if !skip {
			info, err := d.Info()
			if err != nil {
				return err
			}
			files[name] = true
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}

// TestBuildContext holds that the image's build has what it needs, and not
// much more.
func TestBuildContext(t *testing.T) {
	files, size := buildContext(t)
	if size > 4<<20 || len(files) > 800 {
		t.Errorf("the build context has %d files and %d bytes", len(files), size)
	}
	t.Logf("%d files, %d bytes", len(files), size)
	for _, stage := range stages(t) {
		for _, c := range stage.Commands {
			c, ok := c.(*instructions.CopyCommand)
			if !ok || c.From != "" {
				continue
			}
			for _, source := range c.SourcePaths {
				if source != "." && !files[source] {
					t.Errorf("COPY %s: not in the build context", source)
				}
			}
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,GoFiles,EmbedFiles,ImportPath", "-tags=nobadger,nomysql,nopgx,grpcnotrace", "./xcaddy")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	needed := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var pkg struct {
			Dir, ImportPath     string
			GoFiles, EmbedFiles []string
		}
		if err := d.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(pkg.ImportPath, "github.com/caddymail/mailgateway") {
			continue
		}
		for _, f := range slices.Concat(pkg.GoFiles, pkg.EmbedFiles) {
			name, err := filepath.Rel(abs, filepath.Join(pkg.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			needed++
			if !files[filepath.ToSlash(name)] {
				t.Errorf("%s is needed and not in the build context", name)
			}
		}
	}
	if needed < 100 {
		t.Errorf("only %d files needed", needed)
	}
	for _, secret := range []string{".env", "Caddyfile", ".git/config"} {
		if files[secret] {
			t.Errorf("%s is in the build context", secret)
		}
	}
}

// TestHealthcheck runs the image's command and its health check: it succeeds
// while the gateway runs, and fails before and after.
func TestHealthcheck(t *testing.T) {
	img := theImage(t)
	bin := binary(t)
	dir := t.TempDir()
	free := ports(t, "2525", "2580", "2587", "2465", "2019")
	source := ""
	for from, to := range img.copies {
		if to == img.cmd[len(img.cmd)-1] {
			source = from
		}
	}
	if source == "" {
		t.Fatalf("CMD %v names no file that is copied: %v", img.cmd, img.copies)
	}
	config := write(t, filepath.Join(dir, "Caddyfile"), sandboxOnFreePorts(read(t, root+"/"+source), free))
	// The only thing changed is where the admin endpoint listens, which the
	// check finds by itself in the image.
	env := append(home(dir), "CADDY_ADMIN=127.0.0.1:"+free["2019"])
	command := func(words []string) []string {
		return append([]string{}, strings.Fields(strings.ReplaceAll(strings.Join(words, " "), img.cmd[len(img.cmd)-1], config))...)
	}
	if img.entrypoint[0] != "/usr/bin/mailgateway" || img.healthcheck[0] != "/usr/bin/mailgateway" {
		t.Fatalf("ENTRYPOINT %v, HEALTHCHECK %v", img.entrypoint, img.healthcheck)
	}
	check := func() error {
		out, err := run(t, env, bin, command(img.healthcheck[1:])...)
		if err == nil && strings.Contains(out, "@") {
			t.Errorf("the check shows accounts, which Docker records:\n%s", out)
		}
		return err
	}
	if check() == nil {
		t.Fatal("the check succeeds with no gateway")
	}
	p := start(t, env, bin, command(img.cmd)...)
	p.eventually(check)
	p.stop()
	if check() == nil {
		t.Error("the check succeeds after the gateway has ended")
	}
}

// sandboxOnFreePorts puts the newcomer's configuration on ports that are free.
func sandboxOnFreePorts(text string, free map[string]string) string {
	for port, to := range free {
		text = strings.ReplaceAll(text, ":"+port, ":"+to)
	}
	return strings.Replace(text, "smtp_sandbox {", "smtp_sandbox {\n\t\tsmtp 127.0.0.1:"+free["2587"]+
		"\n\t\tsmtps 127.0.0.1:"+free["2465"]+"\n\t\thttp 127.0.0.1:"+free["2580"], 1)
}
