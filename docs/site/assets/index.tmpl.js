// What is searched: each part of each page, from its heading to the next.
{{- $parts := slice }}
{{- range site.RegularPages }}
{{- $page := . }}
{{- $title := partial "title.html" . }}
{{- range $i, $text := split .RawContent "\n## " }}
{{- $heading := "" }}
{{- $url := $page.RelPermalink }}
{{- if gt $i 0 }}
{{- $heading = index (split $text "\n") 0 }}
{{- $url = printf "%s#%s" $url (anchorize $heading) }}
{{- end }}
{{- $parts = $parts | append (dict "page" $title "part" (replace $heading "`" "") "url" (strings.TrimPrefix "/" $url) "text" (replaceRE "\\]\\([^)]*\\)|[`*|\\[]|(?m)^#+ " "" $text)) }}
{{- end }}
{{- end }}
window.manual = {{ $parts | jsonify }};
