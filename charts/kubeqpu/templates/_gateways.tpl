{{- /* All gateways with their defaults filled in, as YAML by name. */ -}}
{{- define "kubeqpu.gateways" -}}
{{- $filled := dict -}}
{{- range $name, $gateway := .Values.gateways -}}
{{- $_ := set $filled $name (mergeOverwrite (deepCopy $.Values.gatewayDefaults) (deepCopy (default dict $gateway))) -}}
{{- end -}}
{{- toYaml $filled -}}
{{- end -}}

{{- /* Name of a gateway's objects. Arguments: root, gateway (its name). */ -}}
{{- define "kubeqpu.gateway.name" -}}
{{- printf "%s-gateway-%s" (include "kubeqpu.fullname" .root) .gateway -}}
{{- end -}}

{{- define "kubeqpu.gateway.component" -}}
{{- printf "gateway-%s" . -}}
{{- end -}}

{{- /* Headless Service of all gateways' pods, ready or not. */ -}}
{{- define "kubeqpu.gateway.discovery" -}}
{{- printf "%s-gateways" (include "kubeqpu.fullname" .) -}}
{{- end -}}

{{- define "kubeqpu.gateway.tlsSecret" -}}
{{- printf "%s-tls" (include "kubeqpu.gateway.name" .) -}}
{{- end -}}

{{- /* ClusterRole that owns a QPU: when it goes, the QPU goes. Arguments: root, qpu (its name). */ -}}
{{- define "kubeqpu.qpu.owner" -}}
{{- printf "%s-qpu-%s" (include "kubeqpu.fullname" .root) .qpu -}}
{{- end -}}

{{- /* Lease that a QPU's gateway renews. */ -}}
{{- define "kubeqpu.qpu.lease" -}}
{{- printf "kubeqpu-qpu-%s" . -}}
{{- end -}}

{{- /* ServiceAccount of the device plugin, as namespace/name; empty where there is none. */ -}}
{{- define "kubeqpu.devicePlugin.account" -}}
{{- with .Values.devicePlugin -}}
{{- if .enabled -}}
{{- $name := include "kubeqpu.serviceAccountName" (dict "values" . "name" (include "kubeqpu.devicePlugin.name" $)) -}}
{{- printf "%s/%s" (include "kubeqpu.devicePlugin.namespace" $) $name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Names in a gateway's certificate, as a JSON list. Arguments: root, gateway. */ -}}
{{- define "kubeqpu.gateway.dnsNames" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $names := list -}}
{{- range list (include "kubeqpu.gateway.name" .) (printf "*.%s" (include "kubeqpu.gateway.discovery" .root)) -}}
{{- $service := printf "%s.%s" . $namespace -}}
{{- $names = concat $names (list . $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service)) -}}
{{- end -}}
{{- append $names "localhost" | toJson -}}
{{- end -}}

{{- /* The gateway's configuration file. Arguments: root, gateway (its name), values (its own). */ -}}
{{- define "kubeqpu.gateway.config" -}}
{{- $root := .root -}}
{{- $qpus := list -}}
{{- $owners := dict -}}
{{- range $name, $qpu := .values.qpus -}}
{{- $entry := dict "name" $name -}}
{{- range $key, $value := omit $qpu "credentialsSecret" -}}
{{- $_ := set $entry (snakecase $key) $value -}}
{{- end -}}
{{- if $qpu.credentialsSecret -}}
{{- $_ := set $entry "credentials_dir" (printf "/etc/kubeqpu/credentials/%s" $name) -}}
{{- end -}}
{{- $qpus = append $qpus $entry -}}
{{- $_ := set $owners $name (include "kubeqpu.qpu.owner" (dict "root" $root "qpu" $name)) -}}
{{- end -}}
{{- $cluster := dict
      "gateway" .gateway
      "namespace" $root.Release.Namespace
      "endpoint" (printf "%s.%s.svc:7070" (include "kubeqpu.gateway.name" .) $root.Release.Namespace)
      "owners" $owners -}}
{{- with include "kubeqpu.devicePlugin.account" $root -}}
{{- $_ := set $cluster "device_plugin" . -}}
{{- end -}}
{{- $own := dict
      "listen" (list "[::]:7070")
      "health_listen" "[::]:7071"
      "metrics_address" "0.0.0.0"
      "metrics_port" 9464
      "data_dir" "/var/lib/kubeqpu"
      "tls" (dict "certificate" "/etc/kubeqpu/tls/tls.crt" "key" "/etc/kubeqpu/tls/tls.key")
      "cluster" $cluster
      "qpus" $qpus -}}
{{- if .values.postgresql.urlSecret -}}
{{- $_ := unset $own "data_dir" -}}
{{- $_ := set $own "database_url_file" "/etc/kubeqpu/database/url" -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .values.config) $own) -}}
{{- end -}}
