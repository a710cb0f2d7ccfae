"""The AdmissionCheck: the last look, after Kueue reserved quota, whether a QPU fits."""
