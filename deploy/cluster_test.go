package deploy

import (
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// cluster is what the manifests make.
type cluster struct {
	stateful *apps.StatefulSet
	services map[string]*core.Service
	config   *core.ConfigMap
	budget   *policy.PodDisruptionBudget
	network  *networking.NetworkPolicy
}

func (c *cluster) pod() *core.PodSpec          { return &c.stateful.Spec.Template.Spec }
func (c *cluster) container() *core.Container  { return &c.pod().Containers[0] }
func (c *cluster) podLabels() labels.Set       { return c.stateful.Spec.Template.Labels }
func (c *cluster) settings() map[string]string { return c.config.Data }

// decode reads an object as the API server would with strict validation: an
// unknown or a repeated field is an error.
func decode(t *testing.T, text []byte) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, _, err := strict.Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return object
}

// readCluster builds the kustomization and decodes what it makes.
func readCluster(t *testing.T) *cluster {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{services: make(map[string]*core.Service)}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch o := decode(t, text).(type) {
		case *apps.StatefulSet:
			c.stateful = o
		case *core.Service:
			c.services[o.Name] = o
		case *core.ConfigMap:
			c.config = o
		case *policy.PodDisruptionBudget:
			c.budget = o
		case *networking.NetworkPolicy:
			c.network = o
		default:
			t.Errorf("%T is not checked", o)
		}
	}
	if c.stateful == nil || c.config == nil || c.budget == nil || c.network == nil || len(c.services) != 2 {
		t.Fatalf("something is missing: %+v", c)
	}
	return c
}
