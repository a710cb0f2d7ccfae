{{- define "kubeqpu.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{- /* Prefix of the names of all objects; at most 30 characters, for others are made from it. */ -}}
{{- define "kubeqpu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "kubeqpu.name" . -}}
{{- contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kubeqpu.labels" -}}
app.kubernetes.io/name: {{ include "kubeqpu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: kubeqpu
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Labels that select a component's pods. Arguments: root, component. */ -}}
{{- define "kubeqpu.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kubeqpu.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* Reference of an image, by digest if it is known. Arguments: root, image. */ -}}
{{- define "kubeqpu.image" -}}
{{- $shared := .root.Values.image -}}
{{- $path := list $shared.registry .image.repository | compact | join "/" -}}
{{- $tag := coalesce .image.tag $shared.tag .root.Chart.AppVersion -}}
{{- printf "%s:%s" $path $tag -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "kubeqpu.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* What PodSecurity `restricted` asks of a pod. */ -}}
{{- define "kubeqpu.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* What PodSecurity `restricted` asks of a container, and a read-only root besides. */ -}}
{{- define "kubeqpu.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Where a pod may run. Argument: the component's values. */ -}}
{{- define "kubeqpu.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* Name of a component's ServiceAccount. Arguments: values (the component's), name (made). */ -}}
{{- define "kubeqpu.serviceAccountName" -}}
{{- default .name .values.serviceAccount.name -}}
{{- end -}}

{{- /* A component's ServiceAccount. Arguments: root, values, name, component. */ -}}
{{- define "kubeqpu.serviceAccount" -}}
{{- if .values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "kubeqpu.serviceAccountName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "kubeqpu.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# Pods that need a token say so themselves.
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{- /* A component's PodDisruptionBudget. Arguments: root, values, name, component. */ -}}
{{- define "kubeqpu.podDisruptionBudget" -}}
{{- if .values.podDisruptionBudget }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "kubeqpu.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  # One at a time, also where there is one only: a node can always be drained.
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "kubeqpu.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end -}}
