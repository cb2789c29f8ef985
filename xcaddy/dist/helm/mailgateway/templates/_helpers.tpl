{{- define "mailgateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mailgateway.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mailgateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mailgateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "mailgateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mailgateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "mailgateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Whether two pods can have the volume at a time. */}}
{{- define "mailgateway.sharedVolume" -}}
{{- if and .Values.persistence.enabled (has "ReadWriteMany" .Values.persistence.accessModes) -}}true{{- end -}}
{{- end -}}

{{/*
What would lose mail or tokens is refused. What an existing config map says is not known here.
Comments do not count.
*/}}
{{- define "mailgateway.check" -}}
{{- $caddyfile := regexReplaceAll "(?m)^\\s*#.*$" .Values.caddyfile "" -}}
{{- if not .Values.existingConfigMap -}}
{{- $postgres := regexMatch "(?m)^\\s*storage\\s+postgres\\b" $caddyfile -}}
{{- $spool := regexMatch "(?m)^\\s*(transport\\s+)?spool\\b" $caddyfile -}}
{{- if and (gt (int .Values.replicas) 1) (not $postgres) (not (include "mailgateway.sharedVolume" .)) -}}
{{- fail "replicas is more than 1: each pod would have tokens and counts of its own. Say `storage postgres` in caddyfile, or make persistence.accessModes [ReadWriteMany]" -}}
{{- end -}}
{{- if and $spool (not .Values.persistence.enabled) -}}
{{- fail "caddyfile has a spool, and persistence.enabled is false: kept messages would be lost with the pod" -}}
{{- end -}}
{{- if and $spool (gt (int .Values.replicas) 1) -}}
{{- fail "caddyfile has a spool, and replicas is more than 1: one spool directory has one process. Install one release for each" -}}
{{- end -}}
{{- end -}}
{{- end -}}
