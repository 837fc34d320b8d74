package archive

// AtMost has a reader refuse more entries than n.
func AtMost(r *Reader, n int) { r.most = n }
