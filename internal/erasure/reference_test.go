package erasure

// A second implementation of the code, as docs/format.md describes it and as
// slow as it is plain, to hold the fast one to.

// mul multiplies in GF(2^8).
func mul(a, b byte) byte { return products[a][b] }

var products = func() (table [256][256]byte) {
	for a := range 256 {
		for b := range 256 {
			table[a][b] = multiply(byte(a), byte(b))
		}
	}
	return table
}()

// multiply is the product modulo x^8+x^4+x^3+x^2+1.
func multiply(a, b byte) (p byte) {
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			p ^= a
		}
		carry := a & 0x80
		if a <<= 1; carry != 0 {
			a ^= 0x1d
		}
	}
	return p
}

func pow(a byte, n int) byte {
	p := byte(1)
	for range n {
		p = mul(p, a)
	}
	return p
}

func inverse(a byte) byte { return pow(a, 254) }

// matrix is the Vandermonde matrix of k+m rows and k columns, whose row r is
// r^0, r^1, …, times the inverse of its first k rows: those become the unit
// matrix, so that the first k shards are the data.
func matrix(k, m int) [][]byte {
	rows := make([][]byte, k+m)
	for r := range rows {
		rows[r] = make([]byte, k)
		for c := range rows[r] {
			rows[r][c] = pow(byte(r), c)
		}
	}
	// Column operations that make a unit matrix of the top do the same to the rest.
	for c := range k {
		if rows[c][c] == 0 {
			for other := c + 1; other < k; other++ {
				if rows[c][other] != 0 {
					for _, row := range rows {
						row[c], row[other] = row[other], row[c]
					}
					break
				}
			}
		}
		scale := inverse(rows[c][c])
		for _, row := range rows {
			row[c] = mul(row[c], scale)
		}
		for other := range k {
			if factor := rows[c][other]; other != c && factor != 0 {
				for _, row := range rows {
					row[other] ^= mul(factor, row[c])
				}
			}
		}
	}
	return rows
}

// parity returns what the shard with that row of the matrix is.
func parity(row []byte, data [][]byte) []byte {
	out := make([]byte, len(data[0]))
	for c, shard := range data {
		for i, b := range shard {
			out[i] ^= mul(row[c], b)
		}
	}
	return out
}
