{{/* Name of every object: the release's. */}}
{{- define "nexmdm.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select the pods; they never change. */}}
{{- define "nexmdm.selector" -}}
app.kubernetes.io/name: nexmdm
app.kubernetes.io/instance: {{ include "nexmdm.name" . }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "nexmdm.labels" -}}
{{ include "nexmdm.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Whether there is ever more than one node. */}}
{{- define "nexmdm.several" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled }}true{{ end -}}
{{- end }}
