{{- define "l2tp-cni.name" -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{ $whole | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "l2tp-cni.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Selector labels of a component's pods. Called with (list . "agent"). */}}
{{- define "l2tp-cni.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: {{ $top.Chart.Name }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "l2tp-cni.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "l2tp-cni.datapathImage" -}}
{{ .Values.image.repository }}:{{ .Values.userspaceDatapath.tag | default .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "l2tp-cni.marker" -}}
{{ include "l2tp-cni.name" . }}-release
{{- end }}

{{- define "l2tp-cni.lease" -}}
{{ include "l2tp-cni.name" . }}-controller
{{- end }}
