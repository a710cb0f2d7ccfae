{{- /*
Which pods, Jobs and JobSets we are asked about. An expression that fails refuses the object, ours
or not: each looks whether a field is there before it reads it.
*/ -}}

{{- /* Whether a container asks for something of ours. */ -}}
{{- define "kubeqpu.webhooks.containerAsks" -}}
has(c.resources) && (
  (has(c.resources.limits) && c.resources.limits.exists(r, r.startsWith('kubeqpu.io/')))
  || (has(c.resources.requests) && c.resources.requests.exists(r, r.startsWith('kubeqpu.io/'))))
{{- end -}}

{{- /* Whether a pod's spec does. Argument: an expression that gives it. */ -}}
{{- define "kubeqpu.webhooks.podAsks" -}}
{{- $asks := include "kubeqpu.webhooks.containerAsks" . -}}
(has({{ . }}.containers) && {{ . }}.containers.exists(c, {{ $asks }}))
|| (has({{ . }}.initContainers) && {{ . }}.initContainers.exists(c, {{ $asks }}))
{{- end -}}

{{- /* What a webhook for pods, jobs or jobsets is asked about, and how. Arguments: kind, root. */ -}}
{{- define "kubeqpu.webhooks.asked" -}}
admissionReviewVersions: [v1]
sideEffects: None
timeoutSeconds: 5
failurePolicy: Fail
namespaceSelector:
  {{- include "kubeqpu.webhooks.namespaces" .root | nindent 2 }}
rules:
  - operations: [CREATE]
    resources: [{{ .kind }}]
    {{- if eq .kind "pods" }}
    apiGroups: [""]
    apiVersions: [v1]
    {{- else if eq .kind "jobs" }}
    apiGroups: [batch]
    apiVersions: [v1]
    {{- else }}
    apiGroups: [jobset.x-k8s.io]
    apiVersions: ["*"]
    {{- end }}
matchConditions:
  - name: asks-for-kubeqpu
    expression: >-
      {{- if eq .kind "pods" }}
      (has(object.metadata.labels) && 'kubeqpu.io/client' in object.metadata.labels
        && object.metadata.labels['kubeqpu.io/client'] == 'true')
      || {{ include "kubeqpu.webhooks.podAsks" "object.spec" | nindent 6 }}
      {{- else if eq .kind "jobs" }}
      {{- include "kubeqpu.webhooks.podAsks" "object.spec.template.spec" | nindent 6 }}
      {{- else }}
      has(object.spec) && has(object.spec.replicatedJobs) && object.spec.replicatedJobs.exists(j,
        has(j.template) && has(j.template.spec) && has(j.template.spec.template)
        && has(j.template.spec.template.spec) && (
      {{- include "kubeqpu.webhooks.podAsks" "j.template.spec.template.spec" | nindent 6 }}))
      {{- end }}
  {{- if eq .kind "pods" }}
  # The kubelet's image of a pod that it runs from a file of its own.
  - name: is-no-mirror
    expression: >-
      !has(object.metadata.annotations)
      || !('kubernetes.io/config.mirror' in object.metadata.annotations)
  {{- end }}
{{- end -}}
