package deploy

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// The kustomization takes every manifest but those that it names as standing
// alone, and none has an unknown field.
func TestManifestsAreAllUsed(t *testing.T) {
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Resources []string }
	text, err := os.ReadFile("kubernetes/kustomization.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	alone := []string{"kustomization.yaml", "secret.example.yaml", "servicemonitor.yaml"}
	for _, f := range files {
		if name := filepath.Base(f); !slices.Contains(list.Resources, name) && !slices.Contains(alone, name) {
			t.Errorf("%s is in no kustomization", f)
		}
	}
	for _, r := range list.Resources {
		text, err := os.ReadFile(filepath.Join("kubernetes", r))
		if err != nil {
			t.Fatal(err)
		}
		for part := range bytes.SplitSeq(text, []byte("\n---\n")) {
			decode(t, part)
		}
	}
}

// The pods meet the strictest of the Pod Security Standards.
func TestPodsAreRestricted(t *testing.T) {
	c := readCluster(t)
	evaluator, err := security.NewEvaluator(security.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, r := range evaluator.EvaluatePod(level, &c.stateful.Spec.Template.ObjectMeta, c.pod()) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	if s := c.container().SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the root file system can be written")
	}
	if p := c.pod(); p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
		t.Error("the pod gets a token of the cluster, which it does not need")
	}
	if p := c.pod(); p.EnableServiceLinks == nil || *p.EnableServiceLinks {
		t.Error("a Service named redis would set REDIS_PORT")
	}
}

func TestSelectorsMeanThePods(t *testing.T) {
	c := readCluster(t)
	set, meant := c.stateful.Spec, c.podLabels()
	selectors := map[string]map[string]string{
		"StatefulSet": set.Selector.MatchLabels, "PodDisruptionBudget": c.budget.Spec.Selector.MatchLabels,
		"NetworkPolicy": c.network.Spec.PodSelector.MatchLabels,
	}
	for name, s := range c.services {
		selectors["Service "+name] = s.Spec.Selector
	}
	for i, spread := range c.pod().TopologySpreadConstraints {
		selectors["spread over "+c.pod().TopologySpreadConstraints[i].TopologyKey] = spread.LabelSelector.MatchLabels
	}
	for name, s := range selectors {
		if len(s) == 0 || !labels.SelectorFromSet(s).Matches(meant) {
			t.Errorf("%s selects %v; the pods have %v", name, s, meant)
		}
	}
	own := c.services[set.ServiceName]
	if own == nil || own.Spec.ClusterIP != core.ClusterIPNone {
		t.Errorf("the StatefulSet's Service %q is not there, or has an address", set.ServiceName)
	}
	if most := c.budget.Spec.MaxUnavailable; most == nil || most.IntValue() != 1 || *set.Replicas < 2 {
		t.Error("a drained node may take all instances at once")
	}
}

func TestPortsAreThere(t *testing.T) {
	c := readCluster(t)
	names := make(map[string]int32)
	for _, p := range c.container().Ports {
		names[p.Name] = p.ContainerPort
	}
	want := func(who string, port intstr.IntOrString) {
		t.Helper()
		if names[port.StrVal] != 8080 {
			t.Errorf("%s goes to the port %q; there are %v", who, port.String(), names)
		}
	}
	for name, s := range c.services {
		for _, p := range s.Spec.Ports {
			want("Service "+name, p.TargetPort)
		}
	}
	for _, rule := range c.network.Spec.Ingress {
		for _, p := range rule.Ports {
			want("NetworkPolicy", *p.Port)
		}
	}
	for name, p := range c.probes() {
		want(name, p.HTTPGet.Port)
	}
	if a := c.stateful.Spec.Template.Annotations; a["prometheus.io/port"] != "8080" || a["prometheus.io/path"] != "/metrics" {
		t.Errorf("annotations %v", a)
	}
}

func (c *cluster) probes() map[string]*core.Probe {
	k := c.container()
	return map[string]*core.Probe{"startup": k.StartupProbe, "live": k.LivenessProbe, "ready": k.ReadinessProbe}
}

// A restart must not depend on Redis, so only readiness may ask how the cache is.
func TestProbes(t *testing.T) {
	c := readCluster(t)
	paths := map[string]string{"startup": "/livez", "live": "/livez", "ready": "/readyz"}
	routes := serverRoutes(t)
	for name, p := range c.probes() {
		if p.HTTPGet.Path != paths[name] || !routes[paths[name]] {
			t.Errorf("the %s probe asks %s; want %s, a route of the server", name, p.HTTPGet.Path, paths[name])
		}
	}
}

func TestPodsStopInTime(t *testing.T) {
	c := readCluster(t)
	grace := time.Duration(*c.pod().TerminationGracePeriodSeconds) * time.Second
	if needed := stopTime(t, c.settings()); grace <= needed {
		t.Errorf("%s to stop, and it may take %s", grace, needed)
	}
	if drain, err := time.ParseDuration(c.settings()["JACKCACHE_DRAIN_DELAY"]); err != nil || drain < 5*time.Second {
		t.Errorf("drain delay %s, %v; readiness is asked every 5 s", drain, err)
	}
}

// Every setting is one, its value is allowed, and its files are where the Secret
// is mounted.
func TestPodSettings(t *testing.T) {
	c := readCluster(t)
	k := c.container()
	env := maps.Clone(c.settings())
	for _, e := range k.Env {
		env[e.Name] = "from the secret"
		if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil || e.Value != "" {
			t.Errorf("%s is not taken from a Secret; put it into settings.env", e.Name)
		}
	}
	checkEnvironment(t, "kubernetes/settings.env", env)
	if k.EnvFrom[0].ConfigMapRef.Name != c.config.Name {
		t.Errorf("the pods read %s, made is %s", k.EnvFrom[0].ConfigMapRef.Name, c.config.Name)
	}
	secret := decode(t, mustRead(t, "kubernetes/secret.example.yaml")).(*core.Secret)
	volume := c.pod().Volumes[0].Secret
	used := []string{volume.Items[0].Key, k.Env[0].ValueFrom.SecretKeyRef.Key}
	for key, value := range secret.StringData {
		if value != "" || !slices.Contains(used, key) {
			t.Errorf("the example has %s=%q; want keys that are used, without values", key, value)
		}
	}
	if len(secret.StringData) != len(used) || volume.SecretName != secret.Name {
		t.Errorf("the example has %v, used are %v", secret.StringData, used)
	}
	if want := k.VolumeMounts[1].MountPath + "/" + volume.Items[0].Path; env["REDIS_PASSWORD_FILE"] != want {
		t.Errorf("REDIS_PASSWORD_FILE is %s; the Secret is at %s", env["REDIS_PASSWORD_FILE"], want)
	}
}

// Each pod has a claim of its own where the image has its data.
func TestPodsHaveTheirOwnData(t *testing.T) {
	c := readCluster(t)
	claim := c.stateful.Spec.VolumeClaimTemplates[0]
	mount := c.container().VolumeMounts[0]
	if mount.Name != claim.Name || mount.MountPath != "/data" || c.settings()["JACKCACHE_DATA_DIR"] != "" {
		t.Errorf("the claim %q is mounted as %q at %s", claim.Name, mount.Name, mount.MountPath)
	}
	if !slices.Equal(claim.Spec.AccessModes, []core.PersistentVolumeAccessMode{core.ReadWriteOnce}) {
		t.Errorf("access modes %v", claim.Spec.AccessModes)
	}
	// The embedded store and its copy while it is compacted; or, once it was carried
	// over to Redis, it and the journal.
	if size := claim.Spec.Resources.Requests.Storage(); size.Value() < max(2*4, 4+2)<<30 {
		t.Errorf("%s for an embedded store of 4 GiB and its copy, or a journal of 2 GiB", size)
	}
	if keep := c.stateful.Spec.PersistentVolumeClaimRetentionPolicy; keep == nil ||
		keep.WhenDeleted != apps.RetainPersistentVolumeClaimRetentionPolicyType || keep.WhenScaled != apps.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("claims are kept %+v; the journal of a pod that went may hold writes that Redis does not have", keep)
	}
	// What is acknowledged must survive the pod, wherever it was started.
	for _, v := range c.pod().Volumes {
		if v.EmptyDir != nil || v.HostPath != nil {
			t.Errorf("the volume %q is lost with the pod or its host", v.Name)
		}
	}
	if mode := c.settings()["JACKCACHE_JOURNAL"]; mode != "" && mode != "required" {
		t.Errorf("JACKCACHE_JOURNAL=%s", mode)
	}
}

func TestServiceMonitor(t *testing.T) {
	c := readCluster(t)
	m := decode(t, mustRead(t, "kubernetes/servicemonitor.yaml")).(*monitoring.ServiceMonitor)
	var found []string
	for name, s := range c.services {
		if labels.SelectorFromSet(m.Spec.Selector.MatchLabels).Matches(labels.Set(s.Labels)) {
			found = append(found, name)
			if s.Spec.Ports[0].Name != m.Spec.Endpoints[0].Port {
				t.Errorf("it scrapes the port %s", m.Spec.Endpoints[0].Port)
			}
		}
	}
	if len(found) != 1 {
		t.Errorf("it finds the Services %v; each pod would be scraped once for each", found)
	}
	if e := m.Spec.Endpoints[0]; !serverRoutes(t)[e.Path] || e.Authorization.Credentials.Key != "api-token" {
		t.Errorf("it scrapes %s with %v", e.Path, e.Authorization)
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
