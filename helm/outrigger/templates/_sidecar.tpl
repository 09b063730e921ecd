{{/*
The templates that another chart uses, each with the context of this one. From a chart that has it as a dependency:

  spec:
    terminationGracePeriodSeconds: {{ include "outrigger.terminationGracePeriodSeconds" .Subcharts.outrigger }}
    initContainers:
      {{- include "outrigger.sidecar" .Subcharts.outrigger | nindent 6 }}
    volumes:
      {{- include "outrigger.volumes" .Subcharts.outrigger | nindent 6 }}
*/}}

{{/* outrigger.yaml, as text. */}}
{{- define "outrigger.config" -}}
{{- if .Values.configText -}}
{{- with (fromYaml .Values.configText).Error -}}
{{- fail (printf "`configText` is not YAML: %s" .) -}}
{{- end -}}
{{ .Values.configText }}
{{- else -}}
{{- $text := toYaml .Values.config -}}
{{- $off := regexFind "(probes|control|access_log|timeout|max_age): false" $text -}}
{{- if $off -}}
{{- fail (printf "in `config`, `%s` was read where no true or false belongs: Helm takes a bare `off` for false; write \"off\" in quotes" $off) -}}
{{- end -}}
{{ $text }}
{{- end -}}
{{- end -}}

{{/* An item of `initContainers`: started before the app, ended after it. Put it first to serve the other ones too. */}}
{{- define "outrigger.sidecar" -}}
- name: outrigger
  image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: ["run", "--config", "/etc/outrigger/outrigger.yaml"]
  {{- with .Values.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    # Only the one that the probes name. Kubernetes needs no list of the listeners' ports, and with one each new listener
    # would restart the pods.
    - name: probes
      containerPort: {{ include "outrigger.probesPort" . }}
  startupProbe:
    httpGet: { path: /ready, port: probes }
    {{- toYaml .Values.probes.startup | nindent 4 }}
  livenessProbe:
    httpGet: { path: /live, port: probes }
    {{- toYaml .Values.probes.liveness | nindent 4 }}
  readinessProbe:
    httpGet: { path: /ready, port: probes }
    {{- toYaml .Values.probes.readiness | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    # The directory, not the file: a `subPath` would never see a change.
    - name: outrigger-config
      mountPath: /etc/outrigger
      readOnly: true
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Items of `volumes`. */}}
{{- define "outrigger.volumes" -}}
- name: outrigger-config
  configMap:
    name: {{ include "outrigger.configMapName" . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The app's time to stop, then the proxy's time to drain. */}}
{{- define "outrigger.terminationGracePeriodSeconds" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{ .Values.terminationGracePeriodSeconds }}
{{- else -}}
{{- $drain := (include "outrigger.config" . | fromYaml).drain | default dict -}}
{{- $timeout := include "outrigger.seconds" (dict "key" "drain.timeout" "value" ($drain.timeout | default "30s")) -}}
{{- $delay := include "outrigger.seconds" (dict "key" "drain.delay" "value" ($drain.delay | default "0s")) -}}
{{ add .Values.appShutdownSeconds $timeout $delay }}
{{- end -}}
{{- end -}}
