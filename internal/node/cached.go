package node

import (
	"datamesh/internal/cache"
	"datamesh/internal/errs"
)

// openCache opens the cache of what gets read. That of a service has a tier on the disk,
// of which there is one in a home. Without a cache a node does as well: what is wrong with
// it is logged.
func (n *Node) openCache(l *link) *cache.Cache {
	c := n.opt.Config.Cache
	o := cache.Options{Memory: int64(c.Memory), TTL: c.TTL, Events: n.cacheEvents()}
	if n.opt.Role == Storage {
		o.Disk, o.Dir = int64(c.Disk), n.home.Cache()
		o.Room = func(used int64) error {
			spare, err := l.disk.Spare()
			if err == nil && spare+used < 2*o.Disk { // as much is kept free
				err = errs.New(errs.Full, "the disk has %d bytes to spare, and %d are needed", spare+used, 2*o.Disk)
			}
			return err
		}
	}
	made, err := cache.New(o)
	if err == nil {
		return made
	}
	n.log.Warn("the cache on the disk cannot be used", "directory", o.Dir, "error", err)
	o.Disk = 0
	made, _ = cache.New(o) // memory alone cannot fail
	return made
}

func (n *Node) cacheEvents() cache.Events {
	return cache.Events{
		Found:  n.metrics.CacheFound,
		Missed: n.metrics.CacheMissed,
		Damaged: func() {
			n.metrics.CacheDamaged()
			n.log.Warn("a file of the cache was damaged, and removed", "directory", n.home.Cache())
		},
		Full: func(err error) {
			if errs.KindOf(err) != errs.Full {
				n.log.Warn("the cache on the disk cannot be used", "directory", n.home.Cache(), "error", err)
				return
			}
			n.log.Info("the cache on the disk was emptied, since the disk has no room to spare", "error", err)
		},
	}
}
