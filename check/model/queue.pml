/* The queue of waiters alone (internal/queue), with everything that decides a waiter: those who hand on a
   connection, those who expire, refuse the asker of an open, leave, and unlink from the middle.

   One step is one atomic operation. The load before a compare-and-swap is one step with it where the
   load decides nothing but whether to try: a lost swap is then what a load at that instant would see.
   Memory is sequentially consistent, as that of Go's atomics is.

   A segment has SEG cells. Those of segment s are s*SEG and those after it; a segment that is made is
   always the one after the last, so its number is known.

   Knobs: G callers, ROUNDS waits each, with the same channel
          CANCEL=mask of the callers whose ctx ends
          GRANT=n goroutines that hand on UNITS connections each
          EXPIRE=n passes of the sweeper that expire the oldest; UNLINK=n passes that unlink
          REFUSE: an open fails and its asker, caller 0, is told wherever it stands
          COUNT: a reader of Waits
          PRELINK=n: the first n callers are written down already; GONE=m: the waits of m more, behind the first, are over
          BUG=n: a seeded fault, see the table in run */
#ifndef G
#define G 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef CANCEL
#define CANCEL 0
#endif
#ifndef GRANT
#define GRANT 1
#endif
#ifndef UNITS
#define UNITS 1
#endif
#ifndef EXPIRE
#define EXPIRE 0
#endif
#ifndef UNLINK
#define UNLINK 0
#endif
#ifndef PRELINK
#define PRELINK 0
#endif
#ifndef GONE
#define GONE 0
#endif
#ifndef SEG
#define SEG 2
#endif
#ifndef BUG
#define BUG 0
#endif

#define NC  (2*G*ROUNDS+GONE+2)    /* cells: each caller may find one broken in each round */
#define NS  (NC/SEG+2)
#define NIL 63                     /* next == nil; a segment whose next is itself is severed */

#define EMPTY   0
#define LOOKING 1
#define PARKED  2
#define TAKEN   3
#define LEFT    4
#define BROKEN  5
#define LIVE(n) (st[n]==LOOKING || st[n]==PARKED)

byte st[NC], who[NC], nxt[NS];
byte head=0, tail=0, first=0, last=0, brk=0;
byte U=0;                          /* the gate's count of waiters */
byte finished=0, others=0;
byte down=0;                       /* ghost: how many have been written down */
byte cellOf[G];                    /* ghost: one more than the cell in which a caller waits, 0 for none */
byte out[NS];                      /* ghost: the segment has left the row */
chan ch[G] = [1] of { byte };      /* a parker's channel, used again in every round; a token names its cell */

/* search looks for the first live waiter in cell n of segment s or behind it: f, or NIL if there is none.
   n is where it has stopped. ok is 0 if s has left the row. */
inline search() {
  ok=2;
  if :: n<s*SEG -> n=s*SEG :: else -> skip fi;
  do
  :: ok!=2 -> break
  :: ok==2 && n>=(s+1)*SEG ->
     nx=nxt[s];
     if
     :: nx==NIL -> f=NIL; ok=1                                               /* nobody is behind, at the instant of this load */
     :: nx==s -> ok=0                                                        /* severed */
     :: else -> s=nx; if :: n<s*SEG -> n=s*SEG :: else -> skip fi
     fi;
     nx=0
  :: ok==2 && n<(s+1)*SEG ->
     if
     :: atomic { LIVE(n) -> f=n; ok=1 }
     :: atomic { !LIVE(n) && st[n]!=EMPTY -> n++ }
     :: atomic { st[n]==EMPTY -> lv=0; m=n+1;                                /* ghost: does anybody wait at this instant? */
          do :: m<NC -> if :: LIVE(m) -> lv=1 :: else -> skip fi; m++ :: else -> break od; m=0 };
#if BUG==10
        any=0;
#else
        e=tail;
        atomic { m=n+1; s2=s; any=3 };
        do
        :: any!=3 -> break
        :: any==3 && m>=e -> any=0
        :: any==3 && m<e && m>=(s2+1)*SEG ->
           nx=nxt[s2];
           if
           :: nx==NIL -> any=0
           :: nx==s2 -> any=2
           :: else -> s2=nx; if :: s2*SEG>m -> any=1 :: else -> skip fi
           fi;
           nx=0
        :: any==3 && m<e && m<(s2+1)*SEG -> if :: st[m]!=EMPTY -> any=1 :: else -> m++ fi
        od;
        atomic { e=0; m=0; s2=0 };
#endif
        if
        :: any==2 -> ok=0
        :: any==0 -> f=NIL; ok=1; assert(!lv)
        :: else ->
#if BUG==11
           n++
#else
           if
           :: atomic { st[n]==EMPTY -> st[n]=BROKEN }; brk++                 /* @ queue/queue.go search state.CompareAndSwap */
                                                                             /* @ queue/queue.go search broken.Inc */
           :: atomic { st[n]!=EMPTY -> skip }
           fi
#endif
        fi;
        any=0; lv=0
     fi
  od
}

/* pass moves head to n. All cells before that are decided or broken. */
inline pass() {
  do
  :: h=head;
     if
     :: h<n -> if
               :: atomic { head==h -> head=n;                                /* @ queue/queue.go pass head.CompareAndSwap */
                    do :: h<n -> assert(out[h/SEG] || !LIVE(h) && st[h]!=EMPTY); h++ :: else -> break od };
                  break
               :: atomic { head!=h -> skip }
               fi
     :: else -> break
     fi
  od;
  do
  :: s=first;
     if
     :: (s+1)*SEG<=n ->
        nx=nxt[s];
        if
        :: nx==NIL -> break                                                  /* Q4 */
        :: nx==s -> skip                                                     /* severed: first has moved on */
        :: else ->
           if
           :: atomic { first==s -> first=nx; assert(!out[nx]) };             /* @ queue/queue.go pass first.CompareAndSwap */
              atomic { nxt[s]=s; out[s]=1 }                                  /* @ queue/queue.go pass next.Store */
           :: atomic { first!=s -> skip }
           fi
        fi
     :: else -> break
     fi
  od;
  atomic { s=0; nx=0; h=0 }
}

/* Nobody waits at this instant. */
inline nobody() {
  g1=0; do :: g1<tail -> assert(!LIVE(g1)); g1++ :: else -> break od; g1=0
}

inline front() {
  do
#if BUG==15
  :: n=tail;
     if
     :: atomic { head==n -> f=NIL; nobody(); break }
     :: head!=n -> skip
     fi;
#else
  :: n=head;
     if
     :: atomic { tail==n -> f=NIL; nobody(); break }                         /* nobody has come since */
     :: tail!=n -> skip
     fi;
#endif
     s=first;
     atomic { n=head; h=n };
     search();
     if
     :: ok==0 -> skip
     :: else -> if :: n>h -> pass() :: else -> skip fi; break
     fi
  od;
  atomic { s=0; n=0; h=0; nx=0; ok=0 }
}

/* advance passes over cell f, which was the oldest and is decided. */
inline advance() {
  n=f+1;
  if
  :: atomic { head==f -> head=n };                                           /* @ queue/queue.go Advance head.CompareAndSwap */
     if :: n%SEG==0 -> pass() :: else -> skip fi
  :: atomic { head!=f -> skip }; pass()
  fi;
  n=0
}

/* Whoever decides the oldest asserts that nobody with an earlier cell lives. */
inline oldest(c) {
  g1=0; do :: g1<c -> assert(!LIVE(g1)); g1++ :: else -> break od; g1=0
}

/* One token for each wait, into an empty channel: the send never blocks. */
inline send(c) {
  atomic { assert(len(ch[who[c]])==0 && cellOf[who[c]]==c+1); ch[who[c]]!c }
}

proctype Caller(byte me; bit canc) {
  byte nd=0, tok=0, r=0, s=0, n=0, nx=0, h=0, f=0, ok=0, e=0, m=0, s2=0, any=0, lv=0, g1=0;
  if :: me<PRELINK -> nd=(me>0 -> me+GONE : me); r=1; goto end_wait :: else -> skip fi;
again:
  if :: r>=ROUNDS -> goto done :: else -> r++ fi;
  U++;
take:
  s=last;
  atomic { n=tail; tail++; assert(n<NC) };                                   /* @ queue/queue.go Enqueue tail.Inc */
  do
  :: n<(s+1)*SEG -> break
  :: else ->
     nx=nxt[s];
     if
     :: nx==NIL ->
        if
        :: atomic { nxt[s]==NIL -> nxt[s]=s+1; assert(!out[s]); nx=s+1 };    /* @ queue/queue.go reach next.CompareAndSwap */
           atomic { if :: last==s -> last=nx :: else -> skip fi; s=nx }
        :: atomic { nxt[s]!=NIL -> skip }
        fi
     :: nx==s ->
        h=first;
        atomic { if :: last==s -> last=h :: else -> skip fi; s=h; h=0 };     /* @ queue/queue.go reach last.CompareAndSwap */
        if :: s*SEG>n -> goto take :: else -> skip fi
     :: else ->
        atomic { if :: last==s -> last=nx :: else -> skip fi; s=nx }         /* @ queue/queue.go reach last.CompareAndSwap #2 */
     fi;
     nx=0
  od;
  if :: s*SEG>n -> goto take :: else -> skip fi;
  if
  :: atomic { st[n]==EMPTY -> assert(n>=head && !out[n/SEG]);                /* @ queue/queue.go Enqueue state.CompareAndSwap */
       down++; nd=n; st[n]=LOOKING; who[n]=me; cellOf[me]=n+1; s=0; n=0; nx=0 }
#if BUG==14
  :: atomic { st[n]==BROKEN -> down++; nd=n; st[n]=LOOKING; who[n]=me; cellOf[me]=n+1; s=0; n=0; nx=0 }
#else
  :: atomic { st[n]!=EMPTY -> assert(st[n]==BROKEN); s=0; n=0; nx=0 }; goto take
#endif
  fi;
  atomic { if :: st[nd]==LOOKING -> st[nd]=PARKED :: else -> skip fi };      /* @ queue/waiter.go Park state.CompareAndSwap */
end_wait:
  if
  :: ch[me]?tok -> assert(tok==nd)
  :: canc ->
     if
     :: ch[me]?tok -> assert(tok==nd)                                        /* select may see either */
     :: atomic { LIVE(nd) -> st[nd]=LEFT };                                  /* @ queue/waiter.go Decide state.CompareAndSwap */
        atomic { U--; cellOf[me]=0 };                                        /* @ wait.go unregister gate.Sub */
        front(); f=0
     :: atomic { !LIVE(nd) -> skip };
#if BUG==9
        nd=0; cellOf[me]=0; goto again;
#endif
        ch[me]?tok; assert(tok==nd)                                          /* the one token that somebody owes */
     fi
  fi;
  atomic { nd=0; tok=0; cellOf[me]=0 };
  goto again;
done:
  finished++
}

/* settle and grant, as far as the queue is concerned. */
proctype Granter() {
  byte s=0, n=0, nx=0, h=0, f=0, ok=0, e=0, m=0, s2=0, any=0, lv=0, g1=0, k=0;
  do
  :: k<UNITS ->
     front();
     if
     :: f==NIL -> f=0; break
     :: else ->
        if
        :: atomic { LIVE(f) -> oldest(f); st[f]=TAKEN };
           U--;                                                              /* @ wait.go unregister gate.Sub */
           send(f);                                                          /* @ settle.go grant ch<- #2 */
           advance(); f=0; k++
        :: atomic { !LIVE(f) -> skip }; f=0                                  /* decided by somebody else: on to the next */
        fi
     fi
  :: else -> break
  od;
  others++
}

/* openFailed for an asker: it is told wherever it stands, then the front is trimmed. */
proctype Refuser() {
  byte s=0, n=0, nx=0, h=0, f=0, ok=0, e=0, m=0, s2=0, any=0, lv=0, g1=0;
  if
  :: atomic { cellOf[0]!=0 && LIVE(cellOf[0]-1) -> f=cellOf[0]-1; st[f]=TAKEN };
     U--;                                                                    /* @ wait.go unregister gate.Sub */
     send(f);                                                                /* @ settle.go refuse ch<- */
     front(); f=0
  :: true -> skip
  fi;
  others++
}

proctype Sweeper() {
  byte s=0, n=0, nx=0, h=0, f=0, ok=0, e=0, m=0, s2=0, any=0, lv=0, g1=0, k=0, k2=0, f0=0, prev=0, cur=0, dead=0;
  do
  :: k<EXPIRE -> k++;
     front();
     if
     :: f==NIL -> f=0
     :: else ->
        if
        :: atomic { LIVE(f) -> oldest(f); st[f]=TAKEN }; U--; send(f); advance()
        :: atomic { !LIVE(f) -> skip }
        fi; f=0
     fi
  :: k2<UNLINK -> k2++;
     f0=first;
     prev=nxt[f0];
     if
     :: prev==NIL || prev==f0 -> skip
     :: else ->
        do
        :: cur=nxt[prev];
           if :: cur==NIL || cur==prev -> break :: else -> skip fi;
           nx=nxt[cur];
           if :: nx==cur -> break
#if BUG!=4
              :: nx==NIL -> break                                            /* Q4: never the last one */
#endif
              :: else -> skip fi;
           m=cur*SEG; dead=1;
           do :: m<(cur+1)*SEG && dead -> if :: st[m]<TAKEN -> dead=0 :: else -> m++ fi :: else -> break od;
           m=0;
           if
           :: !dead -> prev=cur
           :: else ->
              if
#if BUG==13
              :: atomic { nxt[prev]=nx }                         /* a store: prev may have been severed */
#else
              :: atomic { nxt[prev]==cur -> nxt[prev]=nx }       /* @ queue/queue.go Unlink next.CompareAndSwap */
              :: atomic { nxt[prev]!=cur -> break }
#endif
              fi;
#if BUG!=6
              if :: first==f0 -> skip :: else -> break fi;
#endif
              if :: nx!=NIL -> atomic { assert(first!=cur); nxt[cur]=cur; out[cur]=1 } :: else -> break fi              /* @ queue/queue.go Unlink next.Store */
           fi;
           atomic { cur=0; nx=0; dead=0 }
        od
     fi;
     atomic { f0=0; prev=0; cur=0; nx=0; dead=0; m=0 }
  :: break
  od;
  others++
}

/* Waits says how many have come to wait: no fewer than had been written down when it began, and no more
   than have a cell that is not broken when it returns. */
proctype Counter() {
  byte b=0, got=0, least=0;
  least=down;
  b=brk;
  atomic { got=tail-b; assert(got>=least || BUG); got=0; b=0; least=0 };
  others++
}

init {
  byte k=0, c=0, n2=0, s1=0;
  atomic {
    do :: k<NS -> nxt[k]=NIL; k++ :: else -> break od; k=0;
                                                                             /* @ queue/queue.go Init first.Store */
                                                                             /* @ queue/queue.go Init last.Store */
    do :: k<PRELINK+(PRELINK>0 -> GONE : 0) ->
          if :: k>0 && k<=GONE -> st[k]=LEFT
             :: else -> c=(k>0 -> k-GONE : 0); st[k]=PARKED; who[k]=c; cellOf[c]=k+1; U++
          fi;
          if :: k/SEG>last -> nxt[last]=k/SEG; last=k/SEG :: else -> skip fi;
          down++; tail++; k++; c=0
       :: else -> break od;
    k=0;
    do :: k<G -> run Caller(k,(CANCEL>>k)&1); k++ :: else -> break od; k=0;
    do :: k<GRANT -> run Granter(); k++ :: else -> break od; k=0;
    if :: EXPIRE+UNLINK>0 -> run Sweeper() :: else -> others++ fi;
#ifdef REFUSE
    run Refuser();
#else
    others++;
#endif
#ifdef COUNT
    run Counter()
#else
    others++
#endif
  }
  timeout;                         /* nobody can move */
  atomic {
    assert(others==GRANT+3);
    s1=first; n2=0;                /* every live waiter can be reached, and no cell waits for anybody */
    do
    :: s1!=NIL ->
       assert(!out[s1]);
       c=s1*SEG;
       do :: c<(s1+1)*SEG && c<NC ->
             if :: LIVE(c) -> n2++; assert(c>=head && c<tail)
                :: st[c]==EMPTY -> assert(c>=tail)
                :: else -> assert(c<tail) fi;
             c++
          :: else -> break od;
       assert(nxt[s1]!=s1);
       s1=nxt[s1]
    :: else -> break
    od;
    assert(n2==U);
    n2=0; c=0;
    do :: c<NC -> if :: LIVE(c) -> n2++ :: else -> skip fi; c++ :: else -> break od;
    assert(n2==U);
    assert(n2+finished==G);        /* nobody hangs in a cell that is decided */
    assert(tail-brk==down);        /* each is counted once */
    k=0; do :: k<NS -> assert(!out[k] || nxt[k]==k); k++ :: else -> break od;      /* what has left the row leads nowhere */
    k=0; do :: k<G -> assert(len(ch[k])==0); k++ :: else -> break od
  }
}
