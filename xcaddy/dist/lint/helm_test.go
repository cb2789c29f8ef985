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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8sjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// chart is the folder of the Helm chart; what it renders of each file of its
// folder ci is judged here.
const chart = dist + "/helm/mailgateway"

// manifest is what the chart renders, decoded into the API's types; a field
// that they do not have, or one twice, is an error.
type manifest struct {
	config     *corev1.ConfigMap
	account    *corev1.ServiceAccount
	deployment *appsv1.Deployment
	service    *corev1.Service
	claim      *corev1.PersistentVolumeClaim
	budget     *policyv1.PodDisruptionBudget
	policy     *networkingv1.NetworkPolicy
}

func decode(t *testing.T, text string) (manifest, error) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := k8sjson.NewSerializerWithOptions(k8sjson.DefaultMetaFactory, scheme, scheme, k8sjson.SerializerOptions{Yaml: true, Strict: true})
	var m manifest
	for document := range strings.SplitSeq(strings.TrimPrefix(text, "---\n"), "\n---\n") {
		object, _, err := strict.Decode([]byte(document), nil, nil)
		if err != nil {
			return m, err
		}
		switch o := object.(type) {
		case *corev1.ConfigMap:
			m.config = o
		case *corev1.ServiceAccount:
			m.account = o
		case *appsv1.Deployment:
			m.deployment = o
		case *corev1.Service:
			m.service = o
		case *corev1.PersistentVolumeClaim:
			m.claim = o
		case *policyv1.PodDisruptionBudget:
			m.budget = o
		case *networkingv1.NetworkPolicy:
			m.policy = o
		case *corev1.Secret:
			t.Errorf("the chart makes the secret %s: it would be in Helm's history", o.Name)
		default:
			t.Errorf("the chart makes a %T", object)
		}
	}
	return m, nil
}

// helm is the real one, which .ci/run builds.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin := os.Getenv("LINT_HELM")
	if bin == "" {
		t.Fatal("LINT_HELM names no helm; `bash .ci/run package` builds one")
	}
	// A helm that go build made takes the cluster for an old one.
	cmd := exec.Command(bin, append(args, "--kube-version", "1.31.0")...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

// renders are the values that the chart is rendered with, by name.
func renders(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	files, err := filepath.Glob(chart + "/ci/*-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = file
	}
	for _, name := range []string{"default", "persistence", "claim", "secret", "loadbalancer", "nodes", "policy"} {
		if all[name] == "" {
			t.Fatalf("%s/ci has no values for %q", chart, name)
		}
	}
	return all
}

func kubernetes(t *testing.T, name string) manifest {
	t.Helper()
	text, err := helm(t, "template", "mail", chart, "--namespace", "post", "--values", renders(t)[name])
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(t, text)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if m.config == nil || m.account == nil || m.deployment == nil || m.service == nil {
		t.Fatalf("the chart leaves an object out: %+v", m)
	}
	return m
}

// eachRender runs a test on what the chart renders of each file of values.
func eachRender(t *testing.T, f func(*testing.T, manifest)) {
	t.Helper()
	for name := range renders(t) {
		t.Run(name, func(t *testing.T) { f(t, kubernetes(t, name)) })
	}
}

func TestHelmLint(t *testing.T) {
	for name, file := range renders(t) {
		if out, err := helm(t, "lint", "--strict", chart, "--values", file); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestHelmVariants holds that each file of values does what it is there for.
func TestHelmVariants(t *testing.T) {
	if m := kubernetes(t, "default"); m.claim == nil || m.claim.Annotations["helm.sh/resource-policy"] != "keep" || m.deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || m.budget != nil {
		t.Errorf("default: claim %+v, strategy %+v, budget %v", m.claim, m.deployment.Spec.Strategy, m.budget)
	}
	if m := kubernetes(t, "persistence"); *m.claim.Spec.StorageClassName != "fast" || m.claim.Annotations["example.com/backup"] != "daily" || m.claim.Spec.Resources.Requests.Storage().String() != "10Gi" {
		t.Errorf("persistence: %+v", m.claim)
	}
	if m := kubernetes(t, "claim"); m.claim != nil || m.budget != nil || m.deployment.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		t.Errorf("claim: claim %+v, budget %v, strategy %+v", m.claim, m.budget, m.deployment.Spec.Strategy)
	}
	if m := kubernetes(t, "secret"); m.account.Annotations["azure.workload.identity/client-id"] == "" {
		t.Errorf("secret: account %+v", m.account)
	}
	if m := kubernetes(t, "loadbalancer"); m.service.Spec.Type != corev1.ServiceTypeLoadBalancer || m.service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || len(m.service.Spec.LoadBalancerSourceRanges) != 1 {
		t.Errorf("loadbalancer: %+v", m.service.Spec)
	}
	m := kubernetes(t, "nodes")
	if m.claim != nil || m.budget == nil || m.budget.Spec.MaxUnavailable.IntValue() != 1 || len(m.deployment.Spec.Template.Spec.TopologySpreadConstraints) != 1 {
		t.Errorf("nodes: claim %v, budget %+v, spread %+v", m.claim, m.budget, m.deployment.Spec.Template.Spec.TopologySpreadConstraints)
	}
	if p := m.budget.Spec.UnhealthyPodEvictionPolicy; p == nil || *p != policyv1.AlwaysAllow {
		t.Errorf("nodes: the budget keeps a machine with a pod that takes no mail: %v", p)
	}
	for k, v := range m.budget.Spec.Selector.MatchLabels {
		if m.deployment.Spec.Template.Labels[k] != v {
			t.Errorf("nodes: the budget is for %s=%s", k, v)
		}
	}
}

// TestHelmPolicy holds that a network policy lets in those who are named, to the
// ports there are, and out to DNS and what is named; by default there is none.
func TestHelmPolicy(t *testing.T) {
	if m := kubernetes(t, "default"); m.policy != nil {
		t.Errorf("default: %+v", m.policy)
	}
	m := kubernetes(t, "policy")
	if m.policy == nil {
		t.Fatal("there is no policy")
	}
	for k, v := range m.policy.Spec.PodSelector.MatchLabels {
		if m.deployment.Spec.Template.Labels[k] != v {
			t.Errorf("it is for %s=%s", k, v)
		}
	}
	in, out := m.policy.Spec.Ingress, m.policy.Spec.Egress
	if len(m.policy.Spec.PodSelector.MatchLabels) == 0 || len(m.policy.Spec.PolicyTypes) != 2 || len(in) != 1 || len(in[0].From) != 2 || len(out) != 2 {
		t.Fatalf("%+v", m.policy.Spec)
	}
	container := m.deployment.Spec.Template.Spec.Containers[0]
	if len(in[0].Ports) != len(container.Ports) || in[0].Ports[0].Port.StrVal != container.Ports[0].Name {
		t.Errorf("ports %+v", in[0].Ports)
	}
	if out[0].Ports[0].Port.IntValue() != 53 || out[1].Ports[1].Port.IntValue() != 587 {
		t.Errorf("egress %+v", out)
	}
}

// TestHelmRefuses holds that values which would lose something, or which the
// chart does not know, are refused, and why.
func TestHelmRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  admin off\n}\n":                             "admin off",
		"{\n  smtp {\n    drain_timeout 1h2m3s\n  }\n}\n": "drain_timeout (3723 s)",
	} {
		file := write(t, filepath.Join(t.TempDir(), "Caddyfile"), text)
		if out, err := helm(t, "template", chart, "--set-file", "caddyfile="+file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want an error with %q, got %v\n%.500s", text, want, err, out)
		}
	}
	spool := filepath.Join(t.TempDir(), "spool")
	write(t, spool, "{\n  smtp {\n    server devices :2525 {\n      spool\n    }\n  }\n}\n")
	for _, tc := range []struct {
		set  string
		want string
	}{
		{"replicas=2", "each pod would have tokens and counts of its own"},
		{"replicas=two", "replicas"},
		{"replica=2", "replica"},
		{"ports[0].name=a,ports[0].servicePort=25,ports[0].containerPort=25", "want 1,024"},
		{"ports=null", "ports"},
		{"image.digest=latest", "digest"},
		{"service.type=Ingress", "type"},
		{"terminationGracePeriodSeconds=125", "more than preStopSeconds (5) and drain_timeout (120 s)"},
		{"adminAddress=off", "admin off"},
		{"networkPolicy.form=x", "networkPolicy"},
	} {
		if out, err := helm(t, "template", chart, "--set", tc.set); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: want an error with %q, got %v\n%.500s", tc.set, tc.want, err, out)
		}
	}
	for set, want := range map[string]string{
		"persistence.enabled=false":                          "kept messages would be lost",
		"replicas=2,persistence.accessModes={ReadWriteMany}": "one spool directory has one process",
	} {
		if out, err := helm(t, "template", chart, "--set-file", "caddyfile="+spool, "--set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a spool with %s: want an error with %q, got %v\n%.500s", set, want, err, out)
		}
	}
	if _, err := helm(t, "template", chart, "--set-file", "caddyfile="+spool); err != nil {
		t.Errorf("a spool on a volume: %v", err)
	}
}

// leaf is a value's path in values.yaml, which has two levels at most.
var leaf = regexp.MustCompile(`(?m)^( {0,2})([A-Za-z]+):(.*)$`)

// TestHelmValuesAreDocumented holds that the chart's page has a row for each
// value of values.yaml, and for none that is not there.
func TestHelmValuesAreDocumented(t *testing.T) {
	page := read(t, chart+"/README.md")
	parents := map[string]bool{"image": true, "secrets": true, "tls": true, "service": true, "persistence": true, "serviceAccount": true, "podDisruptionBudget": true, "networkPolicy": true}
	want := make(map[string]bool)
	top := ""
	for _, m := range leaf.FindAllStringSubmatch(read(t, chart+"/values.yaml"), -1) {
		switch {
		case m[1] == "":
			top = m[2]
			if !parents[top] {
				want[top] = true
			}
		case parents[top]:
			want[top+"."+m[2]] = true
		}
	}
	if len(want) < 35 {
		t.Fatalf("only %d values: %v", len(want), want)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)` \\|").FindAllStringSubmatch(page, -1) {
		if !want[m[1]] {
			t.Errorf("the page has %s, twice or without a value", m[1])
		}
		delete(want, m[1])
	}
	for path := range want {
		t.Errorf("the page has no row for %s", path)
	}
}

// TestHelmDecodesStrictly holds that the judge of what the chart renders does judge.
func TestHelmDecodesStrictly(t *testing.T) {
	text, err := helm(t, "template", "mail", chart)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"runAsNonRoot: true":           "runAsNonroot: true",
		"replicas: 1":                  "replicas: two",
		"readOnlyRootFilesystem: true": "readOnlyRootFilesystem: true\n            readOnlyRootFilesystem: true",
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the chart does not say %s", from)
		}
		if _, err := decode(t, strings.Replace(text, from, to, 1)); err == nil {
			t.Errorf("%q in place of %q is taken", to, from)
		}
	}
}
