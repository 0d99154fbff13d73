package twyn

decision := {"allow": deny == false, "reasons": [], "limits": []}

deny := false
