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

{{/* The Caddyfile without its comments; nothing of a config map that exists. */}}
{{- define "mailgateway.caddyfile" -}}
{{- if not .Values.existingConfigMap -}}
{{- regexReplaceAll "(?m)^\\s*#.*$" .Values.caddyfile "" -}}
{{- end -}}
{{- end -}}

{{/* Where the admin endpoint is, if it is not where commands look by themselves. */}}
{{- define "mailgateway.admin" -}}
{{- $line := regexFind "(?m)^[ \t]*admin[ \t]+[^ \t{\n]+" (include "mailgateway.caddyfile" .) -}}
{{- $admin := default (regexReplaceAll "^[ \t]*admin[ \t]+" $line "") .Values.adminAddress -}}
{{- if eq $admin "off" -}}
{{- fail "caddyfile has `admin off`: the probes ask the admin endpoint whether the process lives. `admin localhost:2019` is for the pod itself alone, and `admin unix//tmp/admin.sock` for who may open that file" -}}
{{- end -}}
{{- if ne $admin "localhost:2019" -}}{{- $admin -}}{{- end -}}
{{- end -}}

{{/* A probe's command: the context, and flags. */}}
{{- define "mailgateway.health" -}}
{{- $command := concat (list "/usr/bin/mailgateway" "smtp" "health") (rest .) -}}
{{- with include "mailgateway.admin" (first .) -}}
{{- $command = concat $command (list "--address" .) -}}
{{- end -}}
{{- toJson $command -}}
{{- end -}}

{{/* The seconds of drain_timeout: the longest that is said, or the default. */}}
{{- define "mailgateway.drainSeconds" -}}
{{- $most := 120 -}}
{{- range $i, $line := regexFindAll "(?m)^[ \t]*drain_timeout[ \t]+[0-9hms]+" (include "mailgateway.caddyfile" .) -1 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[hms]" $line -1 -}}
{{- $n := int (regexFind "[0-9]+" .) -}}
{{- $sum = add $sum (mul $n (get (dict "h" 3600 "m" 60 "s" 1) (regexFind "[hms]" .))) -}}
{{- end -}}
{{- $most = ternary $sum (max $most $sum) (eq $i 0) -}}
{{- end -}}
{{- $most -}}
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
{{- $caddyfile := include "mailgateway.caddyfile" . -}}
{{- $drain := int (include "mailgateway.drainSeconds" .) -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (add (int .Values.preStopSeconds) $drain) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: it must be more than preStopSeconds (%d) and drain_timeout (%d s) together, or messages on their way are cut off" (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSeconds) $drain) -}}
{{- end -}}
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
