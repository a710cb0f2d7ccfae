{{- /* Name of the webhooks' objects. Kueue's come after it, in the order of names. */ -}}
{{- define "kubeqpu.webhooks.name" -}}
{{- printf "%s-webhooks" (include "kubeqpu.fullname" .) -}}
{{- end -}}

{{- define "kubeqpu.webhooks.tlsSecret" -}}
{{- printf "%s-tls" (include "kubeqpu.webhooks.name" .) -}}
{{- end -}}

{{- /* Names in their certificate, as a JSON list. */ -}}
{{- define "kubeqpu.webhooks.dnsNames" -}}
{{- $service := printf "%s.%s.svc" (include "kubeqpu.webhooks.name" .) .Release.Namespace -}}
{{- list $service (printf "%s.cluster.local" $service) | toJson -}}
{{- end -}}

{{- define "kubeqpu.webhooks.labels" -}}
{{- include "kubeqpu.labels" . }}
app.kubernetes.io/component: webhooks
{{- end -}}

{{- /* What cert-manager makes, and the configurations. Arguments: root, issuer. */ -}}
{{- define "kubeqpu.webhooks.issued" -}}
{{- if .root.Values.webhooks.enabled }}
{{- $name := include "kubeqpu.webhooks.name" .root }}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "kubeqpu.webhooks.labels" .root | nindent 4 }}
spec:
  secretName: {{ include "kubeqpu.webhooks.tlsSecret" .root }}
  dnsNames:
    {{- include "kubeqpu.webhooks.dnsNames" .root | fromJsonArray | toYaml | nindent 4 }}
  usages: [server auth]
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  issuerRef:
    {{- toYaml .issuer | nindent 4 }}
{{ include "kubeqpu.webhooks.configurations" (dict "root" .root "authority" "") }}
{{- end }}
{{- end -}}

{{- /*
The certificate that the chart signs, and the configurations, which name its authority. Arguments:
root, ca, kept (whether the authority was there before).
*/ -}}
{{- define "kubeqpu.webhooks.signed" -}}
{{- if .root.Values.webhooks.enabled }}
{{- $secret := include "kubeqpu.webhooks.tlsSecret" .root }}
{{- $names := include "kubeqpu.webhooks.dnsNames" .root | fromJsonArray }}
{{- $old := lookup "v1" "Secret" .root.Release.Namespace $secret }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ $secret }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "kubeqpu.webhooks.labels" .root | nindent 4 }}
type: kubernetes.io/tls
data:
  {{- if and .kept $old (eq (get $old.data "ca.crt") (b64enc .ca.Cert)) }}
  {{- toYaml $old.data | nindent 2 }}
  {{- else }}
  {{- $signed := genSignedCert (first $names) nil $names (int .root.Values.tls.validityDays) .ca }}
  ca.crt: {{ .ca.Cert | b64enc }}
  tls.crt: {{ $signed.Cert | b64enc }}
  tls.key: {{ $signed.Key | b64enc }}
  {{- end }}
{{ include "kubeqpu.webhooks.configurations" (dict "root" .root "authority" .ca.Cert) }}
{{- end }}
{{- end -}}

{{- /* Where they are. Arguments: root, authority (empty: cert-manager adds it), path. */ -}}
{{- define "kubeqpu.webhooks.client" -}}
service:
  name: {{ include "kubeqpu.webhooks.name" .root }}
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
{{- with .authority }}
caBundle: {{ b64enc . }}
{{- end }}
{{- end -}}

{{- define "kubeqpu.webhooks.namespaces" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- list "kube-system" .Release.Namespace (include "kubeqpu.devicePlugin.namespace" .) | uniq | toYaml | nindent 6 }}
{{- end -}}

{{- define "kubeqpu.webhooks.metadata" -}}
metadata:
  name: {{ include "kubeqpu.webhooks.name" .root }}
  labels:
    {{- include "kubeqpu.webhooks.labels" .root | nindent 4 }}
  {{- if not .authority }}
  annotations:
    cert-manager.io/inject-ca-from: {{ .root.Release.Namespace }}/{{ include "kubeqpu.webhooks.name" .root }}
  {{- end }}
{{- end -}}

{{- /* Both configurations. Arguments: root, authority (empty: cert-manager adds it). */ -}}
{{- define "kubeqpu.webhooks.configurations" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
{{ include "kubeqpu.webhooks.metadata" . }}
webhooks:
  {{- range $kind := list "pods" "jobs" "jobsets" }}
  - name: {{ $kind }}.mutate.kubeqpu.io
    {{- include "kubeqpu.webhooks.asked" (dict "kind" $kind "root" $.root) | nindent 4 }}
    # Others may give an object a queue after us.
    reinvocationPolicy: IfNeeded
    clientConfig:
      {{- include "kubeqpu.webhooks.client" (merge (dict "path" "/mutate") $) | nindent 6 }}
  {{- end }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
{{ include "kubeqpu.webhooks.metadata" . }}
webhooks:
  {{- range $kind := list "pods" "jobs" "jobsets" }}
  - name: {{ $kind }}.validate.kubeqpu.io
    {{- include "kubeqpu.webhooks.asked" (dict "kind" $kind "root" $.root) | nindent 4 }}
    clientConfig:
      {{- include "kubeqpu.webhooks.client" (merge (dict "path" "/validate") $) | nindent 6 }}
  {{- end }}
  - name: objects.validate.kubeqpu.io
    admissionReviewVersions: [v1]
    sideEffects: None
    timeoutSeconds: 5
    # Their definitions' own rules hold without us, and classes can be mended while we are away.
    failurePolicy: Ignore
    rules:
      - apiGroups: [kubeqpu.io]
        apiVersions: [v1alpha1]
        operations: [CREATE, UPDATE]
        resources: [qpuclasses, qpuquotas]
    clientConfig:
      {{- include "kubeqpu.webhooks.client" (merge (dict "path" "/validate") .) | nindent 6 }}
{{- end -}}
