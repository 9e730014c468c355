{{- define "mqtt-lb.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mqtt-lb.selector" -}}
app.kubernetes.io/name: mqtt-lb
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mqtt-lb.labels" -}}
{{ include "mqtt-lb.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "mqtt-lb.tokenSecret" -}}
{{- .Values.adminToken.existingSecret | default (printf "%s-admin" (include "mqtt-lb.name" .)) -}}
{{- end -}}

{{/* The port of a TCP listener; empty for a unix socket. */}}
{{- define "mqtt-lb.port" -}}
{{- if not (hasPrefix "unix:" .bind) -}}
{{- regexFind "[0-9]+$" .bind -}}
{{- end -}}
{{- end -}}
