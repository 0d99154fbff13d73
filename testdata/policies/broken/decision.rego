package twyn

decision := {"allow": http.send({}), "reasons": [], "limits": []}
