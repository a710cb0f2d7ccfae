{{- /* Name of the device plugin's objects. */ -}}
{{- define "kubeqpu.devicePlugin.name" -}}
{{- printf "%s-device-plugin" (include "kubeqpu.fullname" .) -}}
{{- end -}}

{{- define "kubeqpu.devicePlugin.namespace" -}}
{{- default (include "kubeqpu.devicePlugin.name" .) .Values.devicePlugin.namespace -}}
{{- end -}}

{{- define "kubeqpu.devicePlugin.caConfigMap" -}}
{{- default (printf "%s-ca" (include "kubeqpu.devicePlugin.name" .)) .Values.devicePlugin.caConfigMap -}}
{{- end -}}

{{- /* The authority that the chart signs with, where the device plugin reads it. Arguments: root, certificate. */ -}}
{{- define "kubeqpu.devicePlugin.authority" -}}
{{- if and .root.Values.devicePlugin.enabled (not .root.Values.devicePlugin.caConfigMap) }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "kubeqpu.devicePlugin.caConfigMap" .root }}
  namespace: {{ include "kubeqpu.devicePlugin.namespace" .root }}
  labels:
    {{- include "kubeqpu.labels" .root | nindent 4 }}
    app.kubernetes.io/component: device-plugin
data:
  ca.crt: {{ .certificate | quote }}
{{- end }}
{{- end -}}

{{- /* NetworkPolicyPeer that matches its pods. */ -}}
{{- define "kubeqpu.devicePlugin.peer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ include "kubeqpu.devicePlugin.namespace" . }}
podSelector:
  matchLabels:
    {{- include "kubeqpu.selectorLabels" (dict "root" . "component" "device-plugin") | nindent 4 }}
{{- end -}}
