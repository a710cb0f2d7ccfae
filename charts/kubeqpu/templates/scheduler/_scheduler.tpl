{{- define "kubeqpu.scheduler.name" -}}
{{- printf "%s-scheduler" (include "kubeqpu.fullname" .) -}}
{{- end -}}

{{- /* Reference of the stock kube-scheduler: of the cluster's own version, which a vendor's may extend. */ -}}
{{- define "kubeqpu.scheduler.image" -}}
{{- $image := .Values.scheduler.image -}}
{{- $own := regexFind "^v[0-9]+\\.[0-9]+\\.[0-9]+" .Capabilities.KubeVersion.Version -}}
{{- $tag := coalesce $image.tag $own -}}
{{- if not $tag -}}
{{- fail (printf "The cluster's version is %s, from which no kube-scheduler follows. Set `scheduler.image.tag`." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- printf "%s:%s" (list $image.registry $image.repository | compact | join "/") $tag -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- /* Its configuration file. */ -}}
{{- define "kubeqpu.scheduler.config" -}}
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  # As its default it would be what limits it.
  qps: 1000
  burst: 2000
leaderElection:
  leaderElect: true
  resourceName: {{ include "kubeqpu.scheduler.name" . }}
  resourceNamespace: {{ .Release.Namespace }}
profiles:
  - schedulerName: kubeqpu-scheduler
    # All nodes: the best QPU may be anywhere.
    percentageOfNodesToScore: 100
extenders:
  - urlPrefix: http://127.0.0.1:7901
    filterVerb: filter
    prioritizeVerb: prioritize
    preemptVerb: preempt
    # The QPU decides, and the plugins of the scheduler itself choose among equals.
    weight: 100
    nodeCacheCapable: true
    # The scheduler waits for each answer before it looks at another pod.
    httpTimeout: 1s
    ignorable: false
{{- end -}}
