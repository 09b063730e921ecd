{{/*
Names, labels and numbers. What another chart may use stands in _sidecar.tpl.
*/}}

{{- define "outrigger.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "outrigger.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "outrigger.labels" -}}
{{ include "outrigger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "outrigger.configMapName" -}}
{{ .Values.existingConfigMap | default (printf "%s-config" (include "outrigger.name" .)) }}
{{- end -}}

{{/* The port of an address: {{ include "outrigger.port" "0.0.0.0:8080" }} → 8080 */}}
{{- define "outrigger.port" -}}
{{- $port := regexFind "[0-9]+$" (toString .) -}}
{{- if or (not $port) (eq $port "0") -}}
{{- fail (printf "the address `%v` names no port that Kubernetes could be told" .) -}}
{{- end -}}
{{ $port }}
{{- end -}}

{{/* "loopback" if only the pod itself reaches the address, else nothing. */}}
{{- define "outrigger.loopback" -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" (toString .) -}}loopback{{- end -}}
{{- end -}}

{{- define "outrigger.probesPort" -}}
{{- $admin := (include "outrigger.config" . | fromYaml).admin | default dict -}}
{{- $address := $admin.probes | default "0.0.0.0:9900" -}}
{{- if or (eq (toString $address) "off") (include "outrigger.loopback" $address) -}}
{{- fail (printf "`admin.probes` is `%v`, where the kubelet cannot reach it: use an address like 0.0.0.0:9900" $address) -}}
{{- end -}}
{{ include "outrigger.port" $address }}
{{- end -}}

{{/* A duration of the configuration in whole seconds, rounded up. Takes a dict: key, value. */}}
{{- define "outrigger.seconds" -}}
{{- $text := toString .value -}}
{{- if not (regexMatch "^[0-9]+(ms|s|m|h)$" $text) -}}
{{- fail (printf "`%s` is `%s`, which the chart cannot add up: set `terminationGracePeriodSeconds` yourself" .key $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" $text | int -}}
{{- $unit := regexFind "[a-z]+$" $text -}}
{{- if eq $unit "ms" -}}{{ divf $number 1000.0 | ceil | int }}
{{- else -}}{{ mul $number (get (dict "s" 1 "m" 60 "h" 3600) $unit) }}
{{- end -}}
{{- end -}}

{{/* The groups of rules/outrigger.yaml, with what the values say put in. */}}
{{- define "outrigger.ruleGroups" -}}
{{- $values := .Values.prometheusRule -}}
{{- $settings := dict
  "outrigger:error_budget" (printf "vector(%s)" (divf (subf 100.0 (float64 $values.sloTarget)) 100.0 | printf "%.6f"))
  "outrigger:connection_limit" (printf "vector(%d)" (int $values.connectionLimit)) -}}
{{- $groups := list -}}
{{- $unknown := $values.without -}}
{{- range $group := (.Files.Get "rules/outrigger.yaml" | fromYaml).groups -}}
  {{- $rules := list -}}
  {{- range $rule := $group.rules -}}
    {{- if $rule.record -}}
      {{- $rules = append $rules (merge (dict "expr" (get $settings $rule.record | default $rule.expr)) $rule) -}}
    {{- else if has $rule.alert $values.without -}}
      {{- $unknown = without $unknown $rule.alert -}}
    {{- else -}}
      {{- with $values.runbookUrl -}}
        {{- $_ := set $rule.annotations "runbook_url" (replace "docs/alerts.md" . $rule.annotations.runbook_url) -}}
      {{- end -}}
      {{- $rules = append $rules $rule -}}
    {{- end -}}
  {{- end -}}
  {{- if $rules -}}
    {{- $groups = append $groups (dict "name" $group.name "rules" $rules) -}}
  {{- end -}}
{{- end -}}
{{- if $unknown -}}
{{- fail (printf "`prometheusRule.without` names alerts that there are not: %s" (join ", " $unknown)) -}}
{{- end -}}
{{ toYaml $groups }}
{{- end -}}
