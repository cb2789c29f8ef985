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
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestKubernetesPod(t *testing.T) { eachRender(t, kubernetesPod) }

func kubernetesPod(t *testing.T, m manifest) {
	img := theImage(t)
	spec := m.deployment.Spec.Template.Spec
	c := spec.Containers[0]
	yes := func(b *bool) bool { return b != nil && *b }
	no := func(b *bool) bool { return b != nil && !*b }

	if sc := spec.SecurityContext; !yes(sc.RunAsNonRoot) || *sc.RunAsUser == 0 || *sc.RunAsGroup == 0 || sc.FSGroup == nil ||
		sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's securityContext: %+v", sc)
	}
	if sc := c.SecurityContext; !yes(sc.ReadOnlyRootFilesystem) || !no(sc.AllowPrivilegeEscalation) || len(sc.Capabilities.Add) > 0 || sc.Capabilities.Drop[0] != "ALL" {
		t.Errorf("the container's securityContext: %+v", sc)
	}
	if !no(spec.AutomountServiceAccountToken) || spec.HostNetwork || spec.HostPID || spec.ServiceAccountName != m.account.Name {
		t.Errorf("automountServiceAccountToken %v, hostNetwork %t, serviceAccountName %s", spec.AutomountServiceAccountToken, spec.HostNetwork, spec.ServiceAccountName)
	}
	drain := drainTimeout(t)
	if m := regexp.MustCompile(`(?m)^\s*drain_timeout (\S+)`).FindStringSubmatch(m.config.Data["Caddyfile"]); m != nil {
		var err error
		if drain, err = time.ParseDuration(m[1]); err != nil {
			t.Fatal(err)
		}
	}
	if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; grace <= drain {
		t.Errorf("terminationGracePeriodSeconds %s, and drain_timeout is %s", grace, drain)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("resources %+v", c.Resources)
	}
	// Without capabilities, no port below 1024.
	for _, p := range c.Ports {
		if p.ContainerPort < 1024 {
			t.Errorf("container port %d", p.ContainerPort)
		}
	}
	if strings.Join(c.Args, " ") != strings.Join(img.cmd, " ") || c.Command != nil {
		t.Errorf("args %v, and the image's are %v", c.Args, img.cmd)
	}
	address := ""
	if strings.Contains(m.config.Data["Caddyfile"], "admin unix//tmp/admin.sock") {
		address = " --address unix//tmp/admin.sock"
	}
	live := strings.Join(img.healthcheck, " ")
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe} {
		if strings.Join(probe.Exec.Command, " ") != live+address || probe.TimeoutSeconds < 5 {
			t.Errorf("%s probe %+v; the image's check is %v", name, probe, img.healthcheck)
		}
	}
	if strings.Join(c.ReadinessProbe.Exec.Command, " ") != live+" --ready"+address || c.ReadinessProbe.TimeoutSeconds < 5 {
		t.Errorf("the readiness probe is %+v", c.ReadinessProbe)
	}
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || c.Lifecycle.PreStop.Sleep.Seconds < 5 {
		t.Errorf("nothing waits until no client is sent to a pod that ends: %+v", c.Lifecycle)
	}
	for _, e := range c.Env {
		if e.Value != "" {
			t.Errorf("env %s in plain text", e.Name)
		}
	}
}

// TestKubernetesObjectsFit holds that names, labels, ports and mounts of the
// objects match, and the configuration matches them.
func TestKubernetesObjectsFit(t *testing.T) { eachRender(t, kubernetesObjectsFit) }

func kubernetesObjectsFit(t *testing.T, m manifest) {
	img := theImage(t)
	spec := m.deployment.Spec.Template.Spec
	labels := m.deployment.Spec.Template.Labels
	for _, selector := range []map[string]string{m.deployment.Spec.Selector.MatchLabels, m.service.Spec.Selector} {
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("selector %s=%s, and the pods have %v", k, v, labels)
			}
		}
	}
	for _, p := range m.service.Spec.Ports {
		found := false
		for _, cp := range spec.Containers[0].Ports {
			found = found || cp.Name == p.TargetPort.StrVal
		}
		if !found {
			t.Errorf("the service's port %d leads to %s", p.Port, p.TargetPort.String())
		}
	}
	mounts := make(map[string]string)
	writable := make(map[string]bool)
	for _, v := range spec.Containers[0].VolumeMounts {
		mounts[v.Name] = v.MountPath
		writable[v.MountPath] = !v.ReadOnly
	}
	for _, v := range spec.Volumes {
		switch {
		case mounts[v.Name] == "":
			t.Errorf("the volume %s is mounted nowhere", v.Name)
		case v.ConfigMap != nil && (v.ConfigMap.Name != m.config.Name || mounts[v.Name] != filepath.Dir(img.cmd[len(img.cmd)-1])):
			t.Errorf("config map %s at %s", v.ConfigMap.Name, mounts[v.Name])
		case v.PersistentVolumeClaim != nil && m.claim != nil && v.PersistentVolumeClaim.ClaimName != m.claim.Name:
			t.Errorf("claim %s", v.PersistentVolumeClaim.ClaimName)
		case v.Secret != nil && *v.Secret.DefaultMode&0o007 != 0:
			t.Errorf("secret %s with mode %o", v.Secret.SecretName, *v.Secret.DefaultMode)
		}
		delete(mounts, v.Name)
	}
	if len(mounts) > 0 {
		t.Errorf("mounts without a volume: %v", mounts)
	}
	// The image's volumes and its folder for temporary files can be written to.
	for _, path := range []string{"/data", "/config", "/tmp"} {
		if !writable[path] {
			t.Errorf("%s cannot be written to", path)
		}
	}
	if labels["azure.workload.identity/use"] != "true" && strings.Contains(m.config.Data["Caddyfile"], "/var/run/secrets/azure/tokens/") {
		t.Error("the federated token is mounted only into pods with the label azure.workload.identity/use")
	}
}

// TestKubernetesCaddyfile adapts and validates the configurations, with
// made-up secrets where the chart mounts the real ones.
func TestKubernetesCaddyfile(t *testing.T) { eachRender(t, kubernetesCaddyfile) }

func kubernetesCaddyfile(t *testing.T, m manifest) {
	spec := m.deployment.Spec.Template.Spec
	text := m.config.Data[filepath.Base(spec.Containers[0].Args[len(spec.Containers[0].Args)-1])]
	dir := t.TempDir()
	mounted := []string{"/var/run/secrets/azure/tokens/"} // by Azure's webhook
	for _, v := range spec.Containers[0].VolumeMounts {
		mounted = append(mounted, v.MountPath+"/")
	}
	sandbox := strings.Contains(text, "smtp_sandbox")
	// No secret but from a file that is mounted.
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if sandbox {
			break // its secrets are known to everybody, and open nothing
		}
		if m := regexp.MustCompile(`(?:_key|client_secret|password\w*|refresh_token|secret) (\S+)`).FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "{file.") {
			t.Errorf("a secret in plain text: %s", strings.TrimSpace(line))
		}
	}
	certificate, key := certificate(t)
	content := map[string]string{
		"token-key":    base64.StdEncoding.EncodeToString([]byte("made-up-key-made-up-key-made-up-")),
		"account-key":  base64.StdEncoding.EncodeToString([]byte("made-up-key-made-up-key-made-up+")),
		"ms-client-id": "made-up", "google-client-id": "made-up", "google-client-secret": "made-up", "database": "made-up",
		"tls.crt": certificate, "tls.key": key, "azure-identity-token": "made-up",
	}
	files := regexp.MustCompile(`(/(?:var/)?run/[\w/.-]+)`).FindAllString(text, -1)
	for _, file := range files {
		ok := false
		for _, prefix := range mounted {
			ok = ok || strings.HasPrefix(file, prefix)
		}
		if !ok || content[filepath.Base(file)] == "" {
			t.Errorf("%s is not mounted", file)
		}
		write(t, dir+file, content[filepath.Base(file)])
	}
	if !sandbox && len(files) < 6 {
		t.Errorf("the configuration names only %v", files)
	}
	local := strings.NewReplacer("/var/run/", dir+"/var/run/", "/run/", dir+"/run/", " /data/", " "+dir+"/data/").Replace(text)
	config := write(t, dir+"/Caddyfile", local)
	// To validate a configuration whose storage is a database needs the database.
	if !strings.Contains(text, "storage postgres") {
		succeed(t, home(dir), binary(t), "validate", "--config", config)
	}

	var adapted struct {
		Apps struct {
			SMTP struct {
				Servers map[string]struct{ Listen []string }
			}
		}
	}
	out := succeed(t, home(dir), binary(t), "adapt", "--config", config)
	// Logs stand around it.
	if err := json.NewDecoder(strings.NewReader(out[strings.Index(out, `{"admin"`):])).Decode(&adapted); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range spec.Containers[0].Ports {
		found := false
		for _, s := range adapted.Apps.SMTP.Servers {
			for _, l := range s.Listen {
				found = found || strings.HasSuffix(l, ":"+itoa(p.ContainerPort))
			}
		}
		if !found {
			t.Errorf("nothing listens on the container port %d: %+v", p.ContainerPort, adapted.Apps.SMTP.Servers)
		}
	}
}

// TestKubernetesFirstMail runs the configuration that the chart has by itself,
// on free ports: a message passes, and the probes' commands succeed.
func TestKubernetesFirstMail(t *testing.T) {
	m := kubernetes(t, "default")
	dir := t.TempDir()
	free := ports(t, "2525", "2580", "2587", "2465", "2019")
	config := write(t, filepath.Join(dir, "Caddyfile"), sandboxOnFreePorts(m.config.Data["Caddyfile"], free))
	env := append(home(dir), "CADDY_ADMIN=127.0.0.1:"+free["2019"])
	p := start(t, env, binary(t), "run", "--config", config)
	p.eventually(func() error {
		_, err := run(t, env, binary(t), m.deployment.Spec.Template.Spec.Containers[0].StartupProbe.Exec.Command[1:]...)
		return err
	})
	send(t, "127.0.0.1:"+free["2525"], "you@example.net")
	if got := get(t, "http://127.0.0.1:"+free["2580"]+"/messages"); !strings.Contains(got, "you@example.net") {
		t.Errorf("the sandbox has not received the message: %s", got)
	}
	p.stop()
}
