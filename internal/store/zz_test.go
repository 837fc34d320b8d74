package store
import ("testing";"os";"fmt";"io";"datamesh/internal/errs";"datamesh/internal/storetest")
func TestZZ(t *testing.T){
 dir:="/tmp/small/x"
 d:=openDisk(t,dir,Options{Capacity:1<<30,Reserve:1})
 var n,full int
 var ss []*storetest.Sample
 for i:=range uint64(300){ s:=storetest.Segment(t,i,1,0,[]int{small,large}[i%2]); ss=append(ss,s)
  err:=d.Put(t.Context(),s.Descriptor,0,s.Bytes[0]); if err==nil{n++}else{ full++; if full<4||full%20==0 {fmt.Println(i,errs.KindOf(err).Name(),err)}}}
 fmt.Println(n,full); checkAccount(t,d)
 // fill the rest
 f,_:=os.Create("/tmp/small/junk"); 
 for { if _,err:=f.Write(make([]byte,4096)); err!=nil {fmt.Println(err);break} }
 // rows at zero
 d.room.dir="/"
 for i:=300;i<600;i++{ s:=storetest.Segment(t,uint64(i),1,0,[]int{small,large}[i%2]); ss=append(ss,s)
  err:=d.Put(t.Context(),s.Descriptor,0,s.Bytes[0]); if err==nil{n++}else{ full++; if full<240||full%50==0 {fmt.Println(i,errs.KindOf(err).Name(),err)}}}
 checkAccount(t,d); fmt.Printf("%+v\n",d.Usage())
 for i:=range 20 { s:=ss[i]; if err:=d.Drop(t.Context(),s.Deletion(1)); err!=nil {fmt.Println("drop",err)} }
 checkAccount(t,d); fmt.Printf("%+v\n",d.Usage())
 closeDisk(t,d)
 f.Seek(0,io.SeekEnd); for { if _,err:=f.Write(make([]byte,4096)); err!=nil {fmt.Println(err);break} }
 d,err:=Open(dir,Options{}); fmt.Println("reopen at 0 free:",err)
 if err==nil { for i:=20;i<40;i++ { s:=ss[i]; if err:=d.Drop(t.Context(),s.Deletion(1)); err!=nil {fmt.Println("drop",err)} }; checkAccount(t,d); fmt.Println(d.Usage()); closeDisk(t,d)}
}
