// Command kubernetes is every Kubernetes program the test cluster runs, in one
// binary: it looks at the name it was called by, as busybox does. One binary
// links once and shares its pages, where six would take 700 MB of disk and six
// links of a minute each.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// commands maps the name a program is called by to what builds its command.
// The commands are made lazily: each registers flags globally.
var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          kubeapiserver.NewAPIServerCommand,
	"kube-controller-manager": kubecontrollermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return kubescheduler.NewSchedulerCommand() },
	"kube-proxy":              kubeproxy.NewProxyCommand,
	// The kubelet makes a context that ends by signal itself, as none of the others may then.
	"kubelet": func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl": kubectl.NewDefaultKubectlCommand,
}

func main() {
	name := filepath.Base(os.Args[0])
	newCommand, found := commands[name]
	if !found {
		fmt.Fprintf(os.Stderr, "called as %q; call it by a link named %s\n", name, names())
		os.Exit(2)
	}
	os.Exit(cli.Run(newCommand()))
}

func names() string {
	known := make([]string, 0, len(commands))
	for name := range commands {
		known = append(known, name)
	}
	sort.Strings(known)
	return strings.Join(known, ", ")
}
