/* The pool: slots, gate, census, waiters, opens, and everything that takes a slot away or brings one back.
   It mirrors of internal/core pool.go, wait.go, settle.go, quota.go, outage.go, open.go, close.go, slots.go, resize.go, reset.go,
   of revoke.go, and of warm.go, sweep.go and pass.go what takes and gives slots, step by step.

   One step is one atomic operation. A load and the compare-and-swap that depends on it are one step
   where the loop around them repeats until one of them decides: what a lost swap would see next is
   what a load at that instant sees. Memory is sequentially consistent, as that of Go's atomics is.

   A process has one copy of each function of the pool, and labels named after them; settle, destroy
   and ensureOpen return to where rs, rd and re say.

   The queue is abstract here: front, enqueue and decide take effect at the points that queue.pml
   shows them to have.

   Knobs with a value stand below. Those without: DISCARD (leases may end so), CHECK (Factory.Check, which may
   object), PROBE (what the sweeper evicts it holds for a while, has it probed, and may keep), STRICT (StrictMax; 2: some slots are free before Close, some after, as closeBehind says), QUOTA, JUDGE (peers end connections on probation), MAXW=n (MaxWaiters). Who else there is: TRYGET, WARM (one spare
   attempt), CLOSE=0 (Shutdown) or 1 (Close), CLOSE2, RESIZE=n, RESIZE2=n, RESET, WATCH, REVOKE (Revoke, of what Leases
   has found at any time before).
   FRESH=mask: callers who call GetFresh; not with QUOTA or CHECK.
   BUG=n is a seeded fault, see the table in run. */
#ifndef N
#define N 1                        /* slots */
#endif
#ifndef G
#define G 2                        /* callers of Get */
#endif
#ifndef ROUNDS
#define ROUNDS 1                   /* Gets of each */
#endif
#ifndef MAX
#define MAX N                      /* Config.MaxConnections */
#endif
#ifndef PRE
#define PRE 0                      /* slots that are idle at the start */
#endif
#ifndef CANCEL
#define CANCEL 0                   /* mask: callers whose ctx ends */
#endif
#ifndef FAILS
#define FAILS 0                    /* opens that fail, at most */
#endif
#ifndef EXPIRE
#define EXPIRE 0                   /* waits that expire, at most */
#endif
#ifndef EVICT
#define EVICT 0                    /* idle slots that the sweeper closes, at most */
#endif
#ifndef SHRINKS
#define SHRINKS 0                  /* 1: the sweeper passes, and calls shrunk */
#endif
#ifndef HOLD
#define HOLD 0                     /* of the PRE slots, those that are leased at the start; each comes back once, */
#endif
#ifndef KEEP
#define KEEP 0                     /* or never, those in this mask */
#endif
#ifndef KEEPG
#define KEEPG 0                    /* mask: callers of Get who never put back */
#endif
#ifndef COLD
#define COLD 7                     /* coldStart */
#endif
#ifndef MAXOPEN
#define MAXOPEN 7                  /* Config.MaxOpening */
#endif
#ifndef BUG
#define BUG 0
#endif
#ifndef ND
#define ND N                       /* opens that run at the same time */
#endif
#ifndef HAVE
#define HAVE N                     /* slots in the first bank */
#endif
#ifndef MC
#define MC (N+PRE+2)               /* connections that there may be over time */
#endif

/* ------------------------------------------------------------------ words */

/* A slot's word: phase, the mark of a revoked lease (a stamp that no Put gives), and the generation.
   Publish, Retake and Reserve end no generation, as in ring/word.go, so a word may come back, with the same
   connection: Claim begins one. */
#define VACANT 0
#define BUSY   1
#define IDLE   2
#define LEASED 3
#define W(p,rev,g)  ((p)*32+(rev)*16+((g)&15))
#define PH(w)       ((w)/32)
#define REV(w)      (((w)/16)&1)
#define GEN(w)      ((w)&15)
#define AS(w,p)     ((p)*32+(w)%32)
#define NEXT(w,p,rev)  W(p,rev,GEN(w)+1)

byte cell[N];                      /* the ring's cells */
byte slot[N];                      /* the bank's slots: the connection in each, 0 for nil */

byte U=0; bit CLOSED=0, SHRINK=0;  /* gate */
#define GATE0  (U==0 && !CLOSED && !SHRINK)
#define OPEN0  (U==0 && !CLOSED)

byte max=MAX, open=0, opening=0, leaving=0;      /* conns, one word */
#define CONNS  (max*512+open*64+opening*8+leaving)
#define OPENING(c) (((c)/8)&7)
#define USABLE(c)  ((((c)/64)&7)-OPENING(c)-((c)&7))
#define OVER   (open-leaving>max)
#define FULL(c) ((((c)/64)&7)>=(c)/512)
byte dying=0;                      /* ghost: slots that somebody has decided to empty */

byte have=HAVE;                    /* banks: how many slots there are */

/* Waiters. A node gets its number when it is linked, so the order of numbers is that of the queue. */
#define LOOKING 0
#define PARKED  1
#define CLAIMED 2
#define TAKEN   3
#define LEFT    4
#ifdef REVOKE
#define NN      (2+G*ROUNDS)       /* who loses what it is given waits again */
#else
#define NN      (1+G*ROUNDS)
#endif
#define LIVE(n) (st[n]<TAKEN)
#ifdef FRESH
#define FR(n) ((FRESH>>who[n])&1)
#define SUITS(n,a) (!FR(n) || (a)>=(n))
/* So many fresh waiters need more room than there is, and an attempt could begin in it. */
#if FAILS>0
#define MAYTRY (FAILURES(outage)==0 || opening+leaving==0 && !paused)
#else
#define MAYTRY 1
#endif
#define LACKS(r) (max>0 && max+leaving<open+(r) && opening<MAXOPEN && MAYTRY)
byte after[MC+1];                  /* how many had come when the opening of a connection began */
byte evicts=0, trims=0;            /* go p.evict; what unyield trims */
#endif
byte st[NN], who[NN], linked=0;
bit ctxEnded[G];

/* Tokens: a slot with its word, or an error. With them goes the node, for the assertions. */
#define NOSLOT 50
#define ENDED  51                  /* errEnded */
#define FAILED 52                  /* *openError */
#define REFUSED 53                 /* ErrClosed */
#define EXPIRED 54
#define UNAVAIL 55
chan ch[G] = [1] of { byte, byte, byte };

/* Connections, never numbered twice. */
bit unfit[MC+1];
bit gone[MC+1], lent[MC+1];        /* ghosts: out of its slot; leased to a caller */
byte marked=0;                     /* ghost: bit c: whoever marked connection c has returned */
byte conns=0, connEra[MC+1], connSlot[MC+1], era=0;
byte connGen[MC+1];                /* claimed */
#define OWNS   (c!=0 && !((GEN(w)+16-connGen[c])&8))      /* c, found in the slot of w, is the connection of w */
#ifdef REVOKE
byte revoked=0;                    /* ghost: bit c: a Revoke of connection c has returned */
#define MAYLOSE 1                  /* the word of a held slot may have changed */
#else
#define revoked 0
#define MAYLOSE CLOSED
#endif

/* The outage: how often opening has failed in a row, up to KEEPS, and when; the time is how often it has
   failed at all. paused: the time of RetryAt has not come. late: FailFastAfter has passed. proof: in which
   outage a connection was opened: it may end that one. */
#define KEEPS 2                    /* keepsFailing, which is 4 in the code */
byte outage=0, fails=0, proof[MC+1]; bit paused=0, late=0;
#define TRIAL(k) (slot[k]!=0 && !unfit[slot[k]] && proof[slot[k]]==outage)
#if N>1
#define TRIALS (TRIAL(0) || TRIAL(1))
#else
#define TRIALS TRIAL(0)
#endif
#define FAILURES(o) ((o)/16)
bit heldBack=0;                    /* sweeper.heldBack */

chan start = [N+1] of { byte, byte, byte, byte, byte };      /* go p.open: slot, word, asker, era, outage */
#ifdef STRICT
chan dispose = [N] of { byte, byte, byte };                  /* go p.closeConn, with StrictMax: slot, word, asker */
#endif
byte finished=0, others=0, began=0;

/* ------------------------------------------------------------------ queue */

/* front: f is the oldest live waiter, or 0. One step: the load of next that finds nobody, or of the state that finds it live. */
inline front() {
  atomic { f=1; do :: f<=linked && !LIVE(f) -> f++ :: f<=linked && LIVE(f) -> break :: f>linked -> f=0; break od }
}
inline advance(n) { skip }
#ifdef QUOTA
#define QUOTAS 1
#else
#define QUOTAS 0
#endif
#ifdef TRYGET
#define TRIES 1
#else
#define TRIES 0
#endif
#ifdef CLOSE
#define O1 1
#else
#define O1 0
#endif
#ifdef CLOSE2
#define O2 1
#else
#define O2 0
#endif
#ifdef RESIZE
#define O3 1
#else
#define O3 0
#endif
#ifdef RESIZE2
#define O4 1
#else
#define O4 0
#endif
#ifdef RESET
#define O5 1
#else
#define O5 0
#endif
#ifdef WATCH
#define O6 1
#else
#define O6 0
#endif
#ifdef WARM
#define O7 1
#else
#define O7 0
#endif
#ifdef REVOKE
#define O8 1
#else
#define O8 0
#endif
#define OTHERS (O1+O2+O3+O4+O5+O6+O7+O8)

/* Whoever decides the oldest asserts that nobody older lives. */
inline oldest(x) { n=1; do :: n<x -> assert(!LIVE(n)); n++ :: else -> break od; n=0 }
/* One token for each wait, into an empty channel: the send never blocks. */
inline send(x,t,word) { assert(len(ch[who[x]])==0); ch[who[x]]!t,word,x }
/* A caller is lent the connection in slot own. If the word has changed, Close or Revoke has revoked the slot on the way. */
inline lend() {
  assert(!((revoked>>c)&1));
  if
  :: cell[own]==w -> assert(PH(w)==LEASED && !lent[c] && !gone[c] && slot[own]==c); lent[c]=1; assert(!((seen>>c)&1) && !toldClosed)
  :: else -> assert(MAYLOSE && !lent[c])
  fi
}

#define GETTER   0
#define OPENER   1
#define SWEEPER  2
#define CLOSER   3
#define RESIZER  4
#define RESETTER 5
#define WATCHER  6
#define TRYER    7
#define HOLDER   8
#define DISPOSER 9
#define WARMER   10
#define EVICTER  11
#define REVOKER  12
#define SPARE    62                /* asker of an attempt that was begun for nobody who waits */

proctype P(byte role; byte me) {
  byte own=0, w=0, c=0;            /* a held slot, its word, the connection in it */
  byte f=0, nd=0, ask=0, tok=0, i=0, n=0, r=0, e=0, o=0, seen=0, bn=0;
  short cc=0;                      /* a census that has been read */
  bit sh=0;                          /* settle has seen the flag of Resize */
  byte rs=0, rd=0, re=0, rf=0, rm=0, ru=0, rk=0, rs1=0, rd1=0, ask1=0;      /* where settle, destroy, ensureOpen, refuseAll, spoil, unavailable, shrunk return to; and what the outer ones are while shrunk trims */
  bit toldClosed=0;                     /* ghost: has got ErrClosed, so it must not be lent anything any more */
  bit lift=0, held=0, begun=0, any=0, nest=0, stale=0, checked=0, none=0;
#ifdef FRESH
  byte fw=0, rel=0, rank=0, rh=0, af=0;      /* whom to open for; whose claim ends with the attempt; heir: the rank, where to return to, how old */
  bit room=0, letGo=0;
#endif

  if
  :: atomic { role==GETTER -> goto again }
  :: atomic { role==OPENER -> goto end_open }
  :: atomic { role==SWEEPER -> goto end_sweep }
  :: atomic { role==CLOSER -> goto shut }
  :: atomic { role==RESIZER -> goto resize }
  :: atomic { role==RESETTER -> goto reset }
  :: atomic { role==WATCHER -> goto watch }
#ifdef REVOKE
  :: atomic { role==REVOKER -> goto list }
#endif
  :: atomic { role==TRYER -> goto try }
  :: atomic { role==HOLDER -> own=me; w=W(LEASED,0,0); c=me+1; r=ROUNDS; if :: (KEEP>>me)&1 -> goto finish :: else -> goto got fi }
#ifdef WARM
  :: atomic { role==WARMER -> goto warm }
#endif
#ifdef FRESH
  :: atomic { role==EVICTER -> goto end_evicter }
#endif
#ifdef STRICT
  :: atomic { role==DISPOSER -> goto end_dispose }
#endif
  fi;

  /* ---------------------------------------------------------------- Get: pool.go, wait.go */
again:
  atomic { own=0; w=0; c=0; nd=0; tok=0; checked=0;
    if :: r>=ROUNDS -> goto finish
       :: r<ROUNDS && (r>0 || me==0 || ((CANCEL>>me)&1)!=((CANCEL>>(me-1))&1)
#ifdef FRESH
          || ((FRESH>>me)&1)!=((FRESH>>(me-1))&1)
#endif
          || began>=me) ->      /* equal callers begin in order */
          if :: r==0 -> began++ :: else -> skip fi;
          r++; ctxEnded[me]=0; seen=marked;
#ifdef FRESH
          if :: role==GETTER && (FRESH>>me)&1 -> goto unavail :: else -> skip fi;
#endif
          if :: OPEN0 -> i=0; bn=have :: else -> goto unavail fi
    fi };
  goto take;
get:
  atomic { if :: OPEN0 -> i=0; bn=have :: else -> goto unavail fi };
take:
  atomic {
    if
    :: i>=bn -> i=0; bn=0; goto unavail
    :: i<bn && PH(cell[i])==IDLE -> w=AS(cell[i],LEASED); cell[i]=w; own=i; i=0; bn=0   /* @ pool.go Get ring.Take */
                                                                             /* @ pool.go TryGet ring.Take */
                                                                             /* @ slots.go take ring.Take */
    :: else -> i++; goto take
    fi };
#if BUG==44
  atomic { c=slot[own]; if :: c==0 -> own=0; w=0; goto get :: else -> skip fi };     /* takes whatever is in the slot */
#else
  atomic { c=slot[own]; if :: !OWNS -> own=0; w=0; c=0; goto get :: else -> skip fi };
#endif
#ifndef CHECK
  atomic { if :: unfit[c] -> rd=1; goto destroy :: else -> lend(); goto got fi };
#else
  atomic { if :: unfit[c] -> rd=1; goto destroy :: else -> skip fi };
  if :: true -> skip :: atomic { r==1 -> rd=1; goto destroy } fi;            /* Factory.Check objects */
  atomic { if :: unfit[c] -> rd=1; goto destroy :: else -> lend(); goto got fi };        /* that may have taken a while */
#endif

unavail:                           /* wait */
#if FAILS>0
  atomic { ru=1; goto unavailable };
register:
#endif
#ifdef MAXW
registerAgain:
  atomic { if :: CLOSED -> toldClosed=1; goto again :: else -> n=U fi };
  atomic { if :: max==0 -> n=0; goto ending
              :: max>0 && n>=MAXW+(max>open -> max-open : 0)+opening -> n=0; goto again   /* ErrRejected */
              :: else -> skip fi };
  atomic { if :: U==n && !CLOSED -> U++; n=0 :: else -> n=0; goto registerAgain fi };   /* @ wait.go register gate.CompareAndSwap */
  goto link;
ending:
#if BUG==37
  atomic { toldClosed=1; goto again };                                             /* though Close has not set the flag yet */
#else
  atomic { CLOSED=1; toldClosed=1; goto again };                                   /* ErrClosed, and nothing is lent after it */
#endif
#else
  atomic { U++; if :: CLOSED -> skip :: else -> goto link fi };              /* @ wait.go register gate.Add */
  atomic { U--; toldClosed=1; goto again };                                        /* @ wait.go register gate.Sub */
#endif
link:
  atomic { linked++; nd=linked; st[nd]=LOOKING; who[nd]=me };                /* @ queue/queue.go Enqueue state.CompareAndSwap */
#if BUG==1
  goto looked;                                                               /* does not look again */
#elif BUG==7
  atomic { if :: U>1 -> goto looked :: else -> skip fi };                    /* asks the gate who is first */
#else
  atomic { if :: st[nd-1]==PARKED -> goto looked :: else -> skip fi };
#endif
look:                              /* serve */
#ifdef FRESH
  atomic { f=1; do :: f<=linked && !(LIVE(f) && !FR(f)) -> f++ :: f<=linked && LIVE(f) && !FR(f) -> break :: f>linked -> f=0; break od };      /* plainWaits */
#else
  front();
#endif
  atomic { if :: f==0 -> goto looked :: else -> f=0; i=0; bn=have fi };
lookScan:
  atomic {
    if
    :: i>=bn -> i=0; bn=0; goto looked
    :: i<bn && PH(cell[i])==IDLE -> w=AS(cell[i],LEASED); cell[i]=w; own=i; i=0; bn=0   /* @ slots.go scan ring.Scan */
    :: else -> i++; goto lookScan
    fi };
  atomic { c=slot[own]; if :: !OWNS -> own=0; w=0; c=0; goto look :: else -> skip fi };        /* examine */
  atomic { if :: unfit[c] -> rd=3; goto destroy :: else -> c=0; checked=1; rs=1; goto settle fi };
looked:
#ifdef FRESH
#if BUG!=38
  atomic { if :: FR(nd) -> goto parked :: else -> skip fi };
#endif
#endif
  atomic { if :: st[nd]==LOOKING -> st[nd]=PARKED :: else -> skip fi };      /* @ queue/waiter.go Park state.CompareAndSwap */
#ifdef FRESH
parked:
#endif
#if BUG!=8
  atomic { if :: CLOSED -> tok=REFUSED; rf=1; goto refuseAll :: else -> skip fi };
#endif
askToOpen:
  atomic { tok=0; ask=nd; re=1; goto ensureOpen };
#if FAILS>0
notBegun:
  atomic { ru=2; goto unavailable };
refuseMe:
  if
  :: atomic { LIVE(nd) -> st[nd]=TAKEN };
     U--;
     atomic { send(nd,UNAVAIL,0) }
  :: atomic { !LIVE(nd) -> skip }
  fi;
#endif
wait:
  if
  :: atomic { ch[me]?tok,w,n -> assert(n==nd); n=0; goto accept }
  :: atomic { (CANCEL>>me)&1 -> ctxEnded[me]=1 };
     if
     :: atomic { ch[me]?tok,w,n -> assert(n==nd); n=0; goto accept }         /* select may see either */
     :: atomic { LIVE(nd) -> st[nd]=LEFT };                                  /* @ queue/waiter.go Decide state.CompareAndSwap */
        U--;                                                                 /* @ wait.go unregister gate.Sub */
        goto again
     :: atomic { !LIVE(nd) -> skip };
#if BUG==9
        goto again;                                                          /* walks away from its token */
#endif
        atomic { ch[me]?tok,w,n -> assert(n==nd); n=0;
          if :: tok<NOSLOT -> own=tok; tok=0; rs=2; goto settle :: else -> goto again fi }
     fi
  fi;
accept:
  atomic { if :: tok>=NOSLOT -> if :: tok==REFUSED -> toldClosed=1 :: else -> skip fi; goto again :: else -> own=tok; tok=0; c=slot[own]; fi };
#ifdef FRESH
  atomic { if :: c!=0 -> assert(SUITS(nd,after[c])) :: else -> skip fi };
#endif
#if BUG==45
  atomic { if :: c==0 -> goto lostIt :: else -> lend(); goto got fi };       /* takes whatever is in the slot */
#endif
  atomic { if :: !OWNS -> goto lostIt :: else -> skip fi };
  atomic { if :: cell[own]==w -> lend(); goto got :: else -> skip fi };
lostIt:
  atomic { assert(MAYLOSE); own=0; w=0; c=0; if :: CLOSED -> goto again :: else -> nd=0; goto unavail fi };

  /* ---------------------------------------------------------------- Put, Discard, Detach: pool.go */
got:
#if KEEPG>0
  if :: role==GETTER && (KEEPG>>me)&1 -> r=ROUNDS; goto finish :: else -> skip fi;
#endif
#ifdef DISCARD
  if
  :: atomic { true ->
       if :: cell[own]==w -> lent[c]=0; w=NEXT(w,LEASED,0); cell[own]=w; c=0; rd=2; goto destroy :: else -> assert(MAYLOSE); goto again fi }   /* @ pool.go reclaimAs ring.Renew */
  :: true -> skip
  fi;
#endif
  atomic { if :: GATE0 -> skip :: else -> goto putSlow fi };
  atomic { if :: cell[own]==w -> lent[c]=0; w=NEXT(w,IDLE,0); cell[own]=w :: else -> assert(MAYLOSE); goto again fi };   /* @ pool.go Put ring.Give */
#if BUG==2
  goto again;                                                                /* does not look after it has published */
#endif
  atomic { if :: GATE0 -> skip :: else -> goto reconsider fi };
#if BUG==25
  goto again;                                                                /* the mark came first */
#endif
  atomic { if :: unfit[c] -> skip :: else -> goto again fi };
reconsider:
  atomic { rs=2; c=slot[own];
    if :: c==0 -> goto settled :: else -> goto wanted fi };
putSlow:
  atomic { if :: cell[own]==w -> lent[c]=0; w=NEXT(w,LEASED,0); cell[own]=w; c=0; rs=2; goto settle :: else -> assert(MAYLOSE); goto again fi };

  /* ---------------------------------------------------------------- TryGet: pool.go */
try:
  atomic { own=0; w=0; c=0; if :: r==0 && OPEN0 -> r=ROUNDS; seen=marked; i=0; bn=have :: else -> goto finish fi };
tryScan:
  atomic {
    if
    :: i>=bn -> i=0; goto finish
    :: i<bn && PH(cell[i])==IDLE -> w=AS(cell[i],LEASED); cell[i]=w; own=i; i=0; bn=0
    :: else -> i++; goto tryScan
    fi };
  atomic { c=slot[own]; if :: !OWNS -> goto finish :: else -> skip fi };
  atomic { if :: unfit[c] -> rd=2; goto destroy :: else -> lend(); goto got fi };

  /* ---------------------------------------------------------------- settle: settle.go */
settle:
  atomic { c=slot[own]; if :: !OWNS -> assert(MAYLOSE); goto settled :: else -> skip fi };
  atomic { if :: unfit[c] -> rd=4; goto destroy :: else -> skip fi };
  atomic { if :: CLOSED -> rd=4; goto destroy :: !CLOSED && SHRINK -> sh=1 :: else -> sh=0 fi };
  atomic { if :: OVER && (max>0 || sh) -> sh=0; assert(open-dying>max); leaving++; dying++; rd=4; goto leave :: else -> sh=0 fi };   /* @ resize.go surplus conns.CompareAndSwap */
settleFront:
#ifdef FRESH
  atomic { af=after[c]; rh=1; goto heir };
settleHeir:
  atomic { if :: room -> room=0; rank=0; goto yield :: else -> rank=0 fi };
#else
  front();
#endif
#ifdef CHECK
  if
  :: atomic { f!=0 && !checked -> f=0; checked=1; goto settle }
  :: atomic { f!=0 && !checked && role==GETTER && r==1 -> f=0; rd=4; goto destroy }      /* Factory.Check objects */
  :: atomic { f==0 || checked -> skip }
  fi;
#endif
#if BUG!=36
  atomic { if :: f!=0 && unfit[c] -> f=0;                                    /* marked before f came, perhaps */
      goto settle :: else -> skip fi };
#endif
  if
  :: atomic { f==0 -> goto publish }
#ifdef FRESH
  :: atomic { f!=0 && LIVE(f) -> n=1; do :: n<f -> assert(!LIVE(n) || !SUITS(n,after[c])); n++ :: else -> break od; n=0; st[f]=TAKEN };
#else
  :: atomic { f!=0 && LIVE(f) -> oldest(f); st[f]=TAKEN };                   /* @ queue/waiter.go Decide state.CompareAndSwap */
#endif
     U--;                                                                    /* @ wait.go unregister gate.Sub */
     atomic { if :: ctxEnded[who[f]] -> send(f,ENDED,0); f=0;                /* @ settle.go grant ch<- */
                    goto settle
                 :: else -> send(f,own,w) fi };                              /* @ settle.go grant ch<- #2 */
     advance(f); f=0;
     goto settled
  :: atomic { f!=0 && !LIVE(f) -> f=0;
#if BUG==3
       cell[own]=AS(w,IDLE); goto settled                                    /* gives up instead of passing on */
#else
       goto settle
#endif
     }
  fi;
publish:
  atomic { if :: cell[own]==w -> w=AS(w,IDLE); cell[own]=w :: else -> assert(MAYLOSE); goto settled fi };   /* @ slots.go publish ring.Publish */
wanted:
  atomic { if :: unfit[c] && BUG!=25 -> goto takeBack :: else -> skip fi };
  atomic { if :: GATE0 -> goto settled :: CLOSED -> goto takeBack :: !CLOSED && SHRINK -> skip :: else -> goto wantedFront fi };
#if BUG!=22
  atomic { if :: OVER -> goto takeBack :: else -> skip fi };
#endif
wantedFront:
#ifdef FRESH
  atomic { af=after[c]; rh=2; goto heir };
wantedHeir:
  atomic { rank=0;
#if BUG==40
    if :: room -> f=0; room=0; goto settled :: else -> skip fi;              /* does not ask for one who needs the room */
#endif
    room=0; if :: f==0 -> f=1; do :: f<=linked && !(LIVE(f) && FR(f)) -> f++ :: else -> break od;
                          if :: f>linked -> f=0; goto settled :: else -> f=0; re=6; goto ensureOpen fi
               :: else -> f=0 fi };
#else
  front();
  atomic { if :: f==0 -> goto settled :: else -> f=0;
    fi };
#endif
takeBack:
  atomic { if :: cell[own]==w -> w=AS(w,LEASED); cell[own]=w; goto settle :: else -> skip fi };   /* @ slots.go retake ring.Retake */
settled:
  atomic { own=0; w=0; c=0; f=0; checked=0;
    if
    :: rs==1 -> rs=0; goto look
    :: rs==2 -> rs=0; goto again
    :: rs==3 -> rs=0; goto opened
    :: rs==4 -> rs=0; goto collect
#ifdef FRESH
    :: rs==5 -> rs=0; goto evicter
#endif
    :: rs==7 -> rs=0; goto trim
    :: rs==8 -> rs=0; goto end_sweep
    fi };

#ifdef FRESH
  /* ---------------------------------------------------------------- heir(af), yield, evict: fresh.go */
heir:                              /* f: the next waiter; room: it needs the room */
  atomic { f=1; rank=0; room=0 };
heirNext:
  atomic { do :: f<=linked && !LIVE(f) -> f++ :: else -> break od;
    if
    :: f>linked -> f=0; goto heired
    :: f<=linked && LIVE(f) && SUITS(f,af) -> goto heired
    :: f<=linked && LIVE(f) && !SUITS(f,af) && st[f]==CLAIMED -> f++; goto heirNext
    :: else -> rank++
    fi };
  atomic { if :: LACKS(rank) -> room=1 :: else -> f++; goto heirNext fi };
heired:
  atomic { af=0;
    if
    :: rh==1 -> rh=0; goto settleHeir
    :: rh==2 -> rh=0; goto wantedHeir
    :: rh==3 -> rh=0; goto needsRoom
    :: rh==4 -> rh=0; goto evictHeir
    fi };
yield:
  atomic { cc=CONNS; if :: LACKS(1) -> skip :: else -> cc=0; f=0; goto settle fi };      /* in these bounds the rank is 1, or the room is as good */
  atomic { if :: CONNS==cc -> leaving++; cc=0 :: else -> cc=0; f=0; goto settle fi };   /* @ fresh.go yield conns.CompareAndSwap */
  atomic { if :: st[f]==LOOKING -> dying++; ask=f; f=0; rd=4; goto leave :: else -> f=0 fi };
unyield:
  leaving--;                                                                 /* @ fresh.go unyield conns.Sub */
  atomic { if :: OVER && max>0 -> skip :: else -> goto unyielded fi };
  SHRINK=1;
  trims++;                                                                   /* the trim has a goroutine of its own here */
unyielded:
  goto settle;

end_evicter:
  if
  :: atomic { trims>0 -> trims--; goto trim }
  :: atomic { evicts>0 -> evicts-- }
  fi;
evicter:
  atomic { af=0; rh=4; goto heir };
evictHeir:
  atomic { rank=0; if :: room -> room=0; i=0; bn=have :: else -> f=0; goto end_evicter fi };
evictScan:                         /* takeOldest: ages are not modelled, and the first will do */
  atomic {
    if
    :: i>=bn -> i=0; bn=0; f=0; goto end_evicter
    :: i<bn && PH(cell[i])==IDLE -> w=cell[i]; own=i
    :: else -> i++; goto evictScan
    fi };
  atomic { if :: cell[own]==w -> w=AS(w,LEASED); cell[own]=w; i=0; bn=0; rs=5; goto yield :: else -> own=0; w=0; i=0; goto evictScan fi };
#endif

  /* ---------------------------------------------------------------- destroy: close.go */
destroy:
#if BUG==17
  dying++;                                                                   /* forgets to count the slot as leaving */
#else
  atomic { leaving++; dying++ };                                             /* @ close.go destroy conns.Add */
                                                                             /* @ pool.go Detach conns.Add */
                                                                             /* @ budget.go yieldsTo conns.Add */
                                                                             /* @ budget.go evictFor conns.Add */
                                                                             /* @ open.go opened conns.Add */
#endif
leave:
  atomic { if :: cell[own]==w -> w=AS(w,BUSY); cell[own]=w :: else -> assert(MAYLOSE); goto lost fi };   /* @ close.go empty ring.Reserve */
  atomic { c=slot[own]; slot[own]=0; assert(c!=0 && !gone[c] && !lent[c]); gone[c]=1; c=0; checked=0 };   /* @ close.go part slots[].Store */
#ifdef STRICT
  atomic { if
  :: dispose!own,w,ask -> ask=0; goto left                                   /* what Watch refused comes here, too */   /* @ open.go openFailed conns.Sub */
#if STRICT==2
  :: goto vacate                                                             /* closeBehind: few are being closed */
#endif
  fi };
end_dispose:
  atomic { dispose?own,w,ask -> rd=9 };                                      /* Factory.Close has returned */
#endif
vacate:
#if BUG==28
  atomic { open--; leaving--; dying-- };                                     /* the count before the slot */
  atomic { cell[own]=AS(w,VACANT); own=0; w=0 };
#else
  atomic { cell[own]=AS(w,VACANT); own=0; w=0 };                             /* @ close.go vacate ring.Vacate */
#if BUG==17
  atomic { open--; if :: leaving>0 -> leaving-- :: else -> skip fi; dying-- };
#else
  atomic { open--; leaving--; dying-- };                                     /* @ close.go vacate conns.Sub */
#endif
#endif
  atomic { if :: SHRINK -> rk=1; goto shrunk :: else -> skip fi };
vacated:
#if BUG==35
  goto left;                                                                 /* does not offer the slot */
#endif
  atomic { re=2; goto ensureOpen };
lost:
  atomic { leaving--; dying-- };                                             /* @ close.go empty conns.Sub */
left:
  atomic { own=0; w=0; c=0;
    if
    :: rd==1 -> rd=0; goto get
    :: rd==2 -> rd=0; goto again
    :: rd==3 -> rd=0; goto look
    :: rd==4 -> rd=0; goto settled
    :: rd==5 -> rd=0; goto end_sweep
    :: rd==6 -> rd=0; goto spoilt
    :: rd==7 -> rd=0; goto revoke
    :: rd==8 -> rd=0; goto opened
#ifdef REVOKE
    :: rd==10 -> rd=0; goto revokedIt
#endif
#ifdef STRICT
    :: rd==9 -> rd=0; goto end_dispose
#endif
    fi };

  /* ---------------------------------------------------------------- ensureOpen: quota.go, open.go */
ensureOpen:
  atomic { if :: CLOSED || U==0 -> held=0; n=0; goto ensured :: else -> n=U fi };
#ifdef FRESH
  atomic { cc=CONNS; if :: open>=max && ask!=0 && !FR(ask) && !letGo -> held=0; goto ensured :: else -> skip fi };
  atomic { if :: ask!=0 && FR(ask) && st[ask]==LOOKING -> fw=ask; goto unclaimed :: else -> f=1 fi };
unclaimedNext:
  atomic { do :: f<=linked && (!LIVE(f) || !FR(f)) -> f++ :: else -> break od;
    if
    :: f>linked -> fw=0
    :: f<=linked && FR(f) && st[f]==LOOKING -> fw=f
    :: else -> f++; goto unclaimedNext
    fi };
unclaimed:
  atomic { f=1; do :: f<=linked && (!LIVE(f) || FR(f)) -> f++ :: else -> break od;   /* plainWaits */
    if :: fw==0 && f>linked -> f=0; held=0; goto ensured :: true -> skip fi };       /* it may, if somebody calls GetFresh */
  atomic { f=0; if :: fw!=0 && n<=OPENING(cc) -> n=OPENING(cc)+1 :: else -> skip fi;
    if :: FULL(cc) && fw==0 || OPENING(cc)>=n || OPENING(cc)>=MAXOPEN -> held=0; goto ensured :: else -> skip fi };
#else
  atomic { cc=CONNS; if :: open>=max || opening>=n || opening>=MAXOPEN -> held=0; goto ensured :: else -> skip fi };
#endif
#if FAILS>0
  atomic {
    if
    :: FAILURES(outage)>0 && OPENING(cc)>0 -> held=0; goto ensured           /* one at a time; its end asks again */
    :: FAILURES(outage)>0 && OPENING(cc)==0 && paused -> ru=3; goto unavailable
    :: FAILURES(outage)>0 && OPENING(cc)==0 && !paused -> goto admit
    :: FAILURES(outage)==0 -> skip
    fi };
#endif
#ifdef QUOTA
  atomic { i=(USABLE(cc)>0 -> USABLE(cc) : COLD);
    if :: n<=i -> i=n :: n>i && !lift -> skip :: else -> goto quotaFront fi; goto quota };
quotaFront:
  front();
  atomic { if :: f!=0 -> f=0; i=n :: else -> skip fi;                        /* oldestHasWaited */
    };
quota:
  atomic { if :: OPENING(cc)>=i -> i=0; held=1; goto ensured :: else -> i=0 fi };
#endif
admit:
#ifdef FRESH
  atomic { if :: FULL(cc) -> rh=3; goto heir :: else -> goto claim fi };
needsRoom:
  atomic { rank=0; f=0; fw=0;
#if BUG==41
    room=0;                                                                  /* does not look for what is idle */
#endif
    if :: room -> room=0; evicts++ :: else -> skip fi; held=0; goto ensured };
claim:
  atomic { if :: fw!=0 && st[fw]!=LOOKING -> cc=0; n=0; fw=0; goto ensureOpen
              :: fw!=0 && st[fw]==LOOKING -> st[fw]=CLAIMED                  /* @ queue/waiter.go Claim state.CompareAndSwap */
              :: else -> skip fi };
#endif
  atomic {                                                                   /* @ quota.go admitOpens conns.CompareAndSwap */
    if :: CONNS==cc -> open++; opening++; cc=0; n=0 :: else -> cc=0; n=0;
#ifdef FRESH
      if :: fw!=0 -> goto unclaim :: else -> skip fi;
#endif
      goto ensureOpen fi };
  atomic { n=0; do :: n<have && PH(cell[n])!=VACANT -> n++ :: else -> break od;
    assert(n<have); cell[n]=NEXT(cell[n],BUSY,REV(cell[n])) };               /* @ slots.go claim ring.Claim */
#ifdef FRESH
  atomic { if :: fw!=0 && fw!=ask -> start!n,cell[n],fw,era,outage; n=0; fw=0; goto ensureOpen :: else -> fw=0 fi };
#endif
  atomic { start!n,cell[n],ask,era,outage; n=0; if :: ask!=0 -> begun=1 :: else -> skip fi; ask=0; goto ensureOpen };
#ifdef FRESH
unclaim:
  atomic { if :: st[fw]==CLAIMED -> st[fw]=LOOKING :: else -> skip fi; fw=0; letGo=1; goto ensureOpen };   /* @ queue/waiter.go Unclaim state.CompareAndSwap */
#endif
#if FAILS>0
heldUp:                            /* it is not yet time */
#if BUG==19
  atomic { none=0; held=0; goto ensured };                                   /* refuses nobody, and tells nobody */
#endif
  atomic { if :: none -> tok=UNAVAIL; any=0; none=0; rf=3; goto refuseAll :: else -> held=1; goto ensured fi };
refusedAll:
  atomic { tok=0; held=!any; any=0 };
#endif
ensured:
#ifdef FRESH
  atomic { fw=0; letGo=0 };
#endif
  atomic { ask=0; n=0; cc=0; if :: held && !lift -> skip :: else -> goto ensureEnd fi };
  heldBack=1;                                                                /* @ quota.go holdBack heldBack.CompareAndSwap */
ensureEnd:
  atomic {
    if
    :: re==1 -> re=0; held=0;
#if FAILS>0
       if :: begun -> begun=0; goto wait :: else -> goto notBegun fi
#else
       begun=0; goto wait
#endif
    :: re==2 -> re=0; held=0; begun=0; goto left
    :: re==3 -> re=0; held=0; begun=0; goto end_open
#if FAILS>0 || defined(QUOTA)
    :: re==4 -> re=0; goto lifted
#endif
    :: re==5 -> re=0; held=0; begun=0; goto over              /* Resize, Reset */
    :: re==6 -> re=0; held=0; begun=0; goto settled
    fi };

#ifdef WARM
warm:                              /* openSpare, once: warm.go */
  atomic { cc=CONNS; if :: open>=max || opening>=MAXOPEN -> cc=0; goto over :: else -> skip fi };
  atomic { if :: FAILURES(outage)>0 && (OPENING(cc)>0 || paused) -> cc=0; goto over :: else -> skip fi };
  atomic { if :: CONNS==cc -> open++; opening++; cc=0 :: else -> cc=0; goto warm fi };   /* @ warm.go openSpare conns.CompareAndSwap */
  atomic { n=0; do :: n<have && PH(cell[n])!=VACANT -> n++ :: else -> break od; assert(n<have); cell[n]=NEXT(cell[n],BUSY,REV(cell[n])) };
  atomic { start!n,cell[n],SPARE,era,outage; n=0; goto over };
#endif

  /* ---------------------------------------------------------------- unavailable: outage.go */
#if FAILS>0
unavailable:
  atomic { if :: FAILURES(outage)==0 || FAILURES(outage)<KEEPS && !paused || !late -> none=0; goto known :: else -> skip fi };
  atomic { none=!(open-opening-leaving>0 || max==0 || (opening==0 && !paused)) };
known:
  atomic {
    if
    :: ru==1 -> ru=0; if :: none -> none=0; goto again :: else -> goto register fi
    :: ru==2 -> ru=0; if :: none -> none=0; goto refuseMe :: else -> goto wait fi
    :: ru==3 -> ru=0; goto heldUp
    fi };
#endif

  /* ---------------------------------------------------------------- open: open.go */
end_open:
  atomic { start?own,w,ask,e,o;
#ifdef FRESH
    if :: ask!=0 && ask!=SPARE && FR(ask) -> rel=ask :: else -> skip fi
#endif
    };
#ifdef FRESH
  af=linked;                                                                 /* Count */
#endif
  if
  :: atomic { true -> cc=outage };
     atomic { conns++; assert(conns<=MC); c=conns; connEra[c]=e; proof[c]=cc; cc=0; connSlot[c]=own; connGen[c]=GEN(w); slot[own]=c;   /* @ open.go opened slots[].Store */
#ifdef FRESH
       after[c]=af; af=0;
#endif
       c=0 };
     opening--;                                                              /* @ open.go opened conns.Sub */
     atomic { assert(cell[own]==w); w=W(LEASED,0,GEN(w)); cell[own]=w; checked=1 };   /* @ open.go opened ring.Fill */
#if BUG==20
     atomic { e=0; o=0; ask=0; rs=3; goto settle };                          /* does not look at the era */
#else
     atomic { o=0; if :: e!=era -> e=0; if :: ask==SPARE -> ask=0 :: else -> skip fi; rd=8;
#ifdef FRESH
       if :: rel!=0 && st[rel]==CLAIMED -> st[rel]=LOOKING :: else -> skip fi; rel=0;
#endif
       goto destroy :: else -> e=0; ask=0; rs=3; goto settle fi };
#endif
#if FAILS>0
  :: atomic { fails<FAILS -> fails++ };
#ifdef FRESH
     af=0;
#endif
     atomic { stale=(e!=era); e=0; if :: stale -> o=0; if :: ask==SPARE -> ask=0 :: else -> skip fi; goto told :: else -> skip fi };
     atomic { cc=outage; if :: cc!=0 && cc!=o -> cc=0; o=0; goto noted :: else -> o=0 fi };
     atomic { if :: outage==cc -> o=(cc!=0 && TRIALS -> 1 : (FAILURES(cc)<KEEPS -> FAILURES(cc)+1 : KEEPS)); outage=o*16+(fails&15);
                     if :: paused=1 :: o<KEEPS -> paused=0 fi; late=0; o=0   /* a server may ask for a pause at once */
                 :: else -> skip fi; cc=0 };                                 /* @ outage.go failed outage.CompareAndSwap */
noted:
     atomic { if :: ask==SPARE -> ask=0; goto told :: else -> skip fi;       /* mustTell */
              if :: outage==0 || !late -> goto told :: else -> skip fi };
     atomic { cc=(open-opening-leaving<=0);
              if :: !cc -> goto told
                 :: cc || FAILURES(outage)>=KEEPS -> cc=0 fi;                /* whether something has come back */
              if :: ask==0 -> goto tell :: else -> skip fi };
     if
     :: atomic { LIVE(ask) -> st[ask]=TAKEN };
        U--;                                                                 /* @ wait.go unregister gate.Sub */
        atomic { send(ask,FAILED,0) }                                        /* @ settle.go refuse ch<- */
     :: atomic { !LIVE(ask) -> skip }
     fi;
     atomic { ask=0; goto told };
tell:
     front();
     if
     :: atomic { f==0 -> skip }
     :: atomic { f!=0 && LIVE(f) -> oldest(f); st[f]=TAKEN };
        U--;
        atomic { send(f,FAILED,0) };
        advance(f); f=0
     :: atomic { f!=0 && !LIVE(f) -> f=0; goto tell }
     fi;
told:
     atomic { assert(cell[own]==w); cell[own]=AS(w,VACANT); own=0; w=0 };    /* @ open.go openFailed ring.Vacate */
     atomic { open--; opening-- };                                           /* @ open.go openFailed conns.Sub #2 */
     atomic { if :: SHRINK -> rk=4; goto shrunk :: else -> skip fi };
failedShrunk:
#ifdef FRESH
     atomic { if :: rel!=0 && st[rel]==CLAIMED -> st[rel]=LOOKING :: else -> skip fi; rel=0 };
#endif
#if BUG==11
     atomic { ask=0; stale=0; goto end_open };                               /* does not offer the slot again */
#endif
     atomic { if :: ask!=0 && LIVE(ask) -> skip :: else -> ask=0 fi; stale=0; cc=0; re=3; goto ensureOpen }
#endif
  fi;
opened:
#ifdef FRESH
#if BUG!=43
  atomic { if :: rel!=0 && st[rel]==CLAIMED -> st[rel]=LOOKING :: else -> skip fi };      /* release */
#endif
  atomic { rel=0 };
#endif
#if BUG==31
  atomic { ask=0; goto end_open };                                           /* forgets who came meanwhile */
#endif
  atomic { ask=0; re=3; goto ensureOpen };

  /* ---------------------------------------------------------------- the sweeper: sweep.go, pass.go */
end_sweep:
  if
  :: atomic { r<EXPIRE -> r++ };                                             /* expire */
     front();
     if
     :: atomic { f==0 -> skip }
     :: atomic { f!=0 && LIVE(f) -> oldest(f); st[f]=TAKEN };
        U--;
        atomic { send(f,EXPIRED,0) };
        advance(f); f=0
     :: atomic { f!=0 && !LIVE(f) -> f=0 }
     fi;
     goto end_sweep
  :: atomic { e<EVICT -> e++; i=0; bn=have };                                /* pass, closeDue */
evict:
     atomic {
       if
       :: i>=bn -> i=0; bn=0; goto end_sweep
       :: i<bn && PH(cell[i])==IDLE -> w=cell[i]; own=i; i=0; bn=0
       :: else -> i++; goto evict
       fi };
#ifndef PROBE
     atomic { if :: cell[own]==w -> w=AS(w,LEASED); cell[own]=w; rd=5; goto destroy :: else -> own=0; w=0; goto end_sweep fi }
#else                              /* suspectIdle holds it; then probeSlot, while time passes */
     atomic { if :: cell[own]==w -> w=AS(w,LEASED); cell[own]=w :: else -> own=0; w=0; goto end_sweep fi };
#if BUG==70
     atomic { own=0; w=0; goto end_sweep };                                   /* it is content, and forgets the slot */
#endif
     atomic { if :: true -> rd=5; goto destroy :: true -> checked=1; rs=8; goto settle fi }
#endif
#if FAILS>0
  :: atomic { paused -> paused=0; goto end_sweep }                           /* time passes */
  :: atomic { outage!=0 && !late -> late=1; goto end_sweep }
  :: atomic { outage!=0 && TRIALS -> cc=outage };                            /* endTrials, and Put of a lease that ends clean */
#if BUG==34
     atomic { assert(outage==cc); outage=0; cc=0 };                          /* ends it whatever has failed meanwhile */
#else
     atomic { if :: outage==cc -> outage=0; cc=0 :: else -> cc=0; goto end_sweep fi };   /* @ outage.go endOutage outage.CompareAndSwap */
#endif
     atomic { re=4; goto ensureOpen }
#ifdef JUDGE
  :: atomic { fails<FAILS && conns>0 -> fails++; cc=outage };                /* judge: a peer ends a connection on probation */
     atomic { if :: outage==cc -> cc=(FAILURES(cc)<KEEPS -> FAILURES(cc)+1 : KEEPS); outage=cc*16+(fails&15); paused=(cc>=KEEPS); late=0 :: else -> skip fi; cc=0; goto end_sweep }
#endif
#endif
#if FAILS>0 || defined(QUOTA)
  :: atomic { heldBack -> skip };                                            /* lift, when it is time */
#if BUG!=23
     heldBack=0;                                                             /* @ quota.go lift heldBack.Store */
#endif
     atomic { lift=1; re=4; goto ensureOpen };
lifted:
#if BUG==23
     heldBack=0;                                                             /* after the look */
#endif
     atomic { lift=0; begun=0; if :: held -> held=0 :: else -> goto end_sweep fi };
     atomic { heldBack=1; goto end_sweep }                                   /* @ quota.go lift heldBack.Store #2 */
#endif
#if SHRINKS>0
  :: atomic { SHRINK && !OVER -> rk=3; goto shrunk }                /* pass */
#endif
  fi;

  /* ---------------------------------------------------------------- Close, Shutdown: close.go */
shut:
  max=0;                                                                     /* @ close.go shut conns.CompareAndSwap */
  CLOSED=1;                                                                  /* @ gate.go setGate gate.CompareAndSwap */
  atomic { tok=REFUSED; rf=2; goto refuseAll };
collect:
  atomic { tok=0; any=0; i=0; bn=have };
collectScan:
  atomic {
    if
    :: i>=bn -> i=0; bn=0
    :: i<bn && PH(cell[i])==IDLE -> w=AS(cell[i],LEASED); cell[i]=w; own=i; i=0; bn=0; checked=1; rs=4; goto settle
    :: else -> i++; goto collectScan
    fi };
  atomic { if :: me==0 -> goto over :: else -> i=0 fi };                     /* Shutdown, while its ctx lasts; Close */
revoke:
  atomic {
    if
    :: i>=have -> i=0; goto over
    :: i<have && (PH(cell[i])==IDLE || PH(cell[i])==LEASED && !REV(cell[i])) -> w=cell[i]; own=i
    :: else -> i++; goto revoke
    fi };
  atomic {
    if
    :: cell[own]!=w -> w=0; own=0; goto revoke
    :: cell[own]==w && PH(w)==IDLE -> w=AS(w,LEASED); cell[own]=w; rd=7; goto destroy
    :: cell[own]==w && PH(w)==LEASED -> w=NEXT(w,LEASED,1); cell[own]=w; lent[slot[own]]=0; rd=7   /* @ revoke.go revokeFor ring.Renew */
    fi };
  atomic { unfit[slot[own]]=1; goto destroy };                               /* @ conn.go mark notice.CompareAndSwap */

#ifdef REVOKE
  /* ---------------------------------------------------------------- Leases, Revoke: leak.go, revoke.go */
list:
  atomic {
    if
    :: PH(cell[0])==LEASED && !REV(cell[0]) -> own=0; w=cell[0]; e=slot[0]
#if N>1
    :: PH(cell[1])==LEASED && !REV(cell[1]) -> own=1; w=cell[1]; e=slot[1]
#endif
    :: finished==G+TRIES+HOLD -> goto over
    fi };
  atomic { if :: cell[own]==w -> assert(slot[own]==e); w=NEXT(w,LEASED,1); cell[own]=w; lent[e]=0 :: else -> e=0; own=0; w=0; goto over fi };
#if BUG!=46
  unfit[e]=1;
#endif
  atomic { rd=10; goto destroy };
revokedIt:
  atomic { revoked=revoked|(1<<e); e=0; goto over };
#endif

  /* ---------------------------------------------------------------- refuseAll(tok): settle.go */
refuseAll:
  front();
  if
  :: atomic { f==0 ->
       if
       :: rf==1 -> rf=0; any=0; goto askToOpen
       :: rf==2 -> rf=0; goto collect
#if FAILS>0
       :: rf==3 -> rf=0; goto refusedAll
#endif
       fi }
  :: atomic { f!=0 && LIVE(f) -> oldest(f); st[f]=TAKEN };
     U--;
     atomic { send(f,tok,0); any=1 };
     advance(f);
     atomic { f=0;
       goto refuseAll }
  :: atomic { f!=0 && !LIVE(f) -> f=0;
       goto refuseAll }
  fi;

  /* ---------------------------------------------------------------- Resize(me): resize.go */
resize:
#if BUG!=29
  atomic { if :: have<me -> have=me :: else -> skip fi };                    /* @ slots.go more banks.CompareAndSwap */
#endif
#if BUG==15
  SHRINK=1;                                                                  /* the flag before the limit */
#endif
  atomic { if :: max==0 -> skip :: else -> max=me; goto limited fi };        /* @ resize.go Resize conns.CompareAndSwap */
  atomic { CLOSED=1; goto over };                                            /* ending */
limited:
#if BUG==29
  atomic { if :: have<me -> have=me :: else -> skip fi };                    /* the slots after the limit */
#endif
  atomic { if :: OVER -> skip :: else -> goto trimmed fi };
#if BUG!=15
  SHRINK=1;                                                                  /* @ gate.go setGate gate.CompareAndSwap */
#endif
trim:
  atomic { if :: OVER -> i=0; bn=have :: else -> goto trimmed fi };
trimScan:
  atomic {
    if
    :: i>=bn -> i=0; bn=0; goto trimmed
    :: i<bn && PH(cell[i])==IDLE -> w=AS(cell[i],LEASED); cell[i]=w; own=i; i=0; bn=0; rs=7
    :: else -> i++; goto trimScan
    fi };
  atomic { if :: OVER -> assert(open-dying>max); leaving++; dying++; rd=4; goto leave :: else -> goto settle fi };   /* surplus; settle has a goroutine of its own */
trimmed:
  atomic { if :: nest -> nest=0; rs=rs1; rs1=0; rd=rd1; rd1=0; rk=1 :: !nest && role==SWEEPER -> rk=3 :: !nest && role==OPENER -> rk=4 :: !nest && role==EVICTER -> rk=5 :: else -> rk=2 fi; ask=ask1; ask1=0 };
shrunk:
  atomic { if :: OVER -> goto shrunkEnd :: else -> skip fi };
  atomic { if :: !SHRINK -> goto shrunkEnd :: else -> skip fi };
  SHRINK=0;                                                                  /* @ gate.go clearGate gate.CompareAndSwap */
#if BUG!=14
  atomic { if :: OVER -> skip :: else -> goto shrunkEnd fi };
  SHRINK=1;                                                                  /* @ gate.go setGate gate.CompareAndSwap */
  atomic {                                                                   /* trim; one within another goes on in the outer one */
    if
    :: rk==1 && !nest -> rk=0; nest=1; rs1=rs; rs=0; rd1=rd; rd=0; ask1=ask; ask=0; goto trim
    :: rk!=1 -> rk=0; ask1=ask; ask=0; goto trim
    :: else -> skip
    fi };
#endif
shrunkEnd:
  atomic {
    if
    :: rk==1 -> rk=0; goto vacated
    :: rk==2 -> rk=0
    :: rk==3 -> rk=0; goto end_sweep
#ifdef FRESH
    :: rk==5 -> rk=0; goto end_evicter
#endif
#if FAILS>0
    :: rk==4 -> rk=0; goto failedShrunk
#endif
    fi };
resized:
#if BUG==30
  goto over;                                                                 /* does not ask who waits */
#endif
  atomic { re=5; goto ensureOpen };

  /* ---------------------------------------------------------------- Reset, Watch: reset.go */
reset:
#if BUG!=16
  atomic { era++ };                                                          /* @ reset.go Reset era.Swap */
#endif
  atomic { outage=0; late=0; i=0; bn=have };                                         /* @ reset.go Reset outage.Store */
resetNext:
  atomic { if :: i>=bn -> i=0; bn=0; goto resetEnd
              :: i<bn && slot[i]!=0 && (connEra[slot[i]]!=era || BUG==16) -> e=slot[i]; i++; rm=1
              :: else -> i++; goto resetNext fi };
  goto spoil;
resetEnd:
#if BUG==16
  era++;                                                                     /* marks, and then changes the era */
#endif
  atomic { i=1; do :: i<=conns -> if :: connEra[i]!=era -> marked=marked|(1<<i) :: else -> skip fi; i++ :: else -> break od; i=0; re=5; goto ensureOpen };
watch:
  atomic { conns>0 -> e=conns; rm=2 };
spoil:
  atomic { if :: unfit[e] -> goto spoilt :: else -> unfit[e]=1 fi };         /* @ conn.go mark notice.CompareAndSwap */
#if BUG==24
  goto spoilt;                                                               /* does not look whether it is idle */
#endif
  atomic { own=connSlot[e]; w=cell[own]; if :: PH(w)!=IDLE -> goto spoilt :: else -> skip fi };
  atomic { if :: slot[own]!=e -> goto spoilt :: else -> skip fi };
  atomic { if :: cell[own]==w -> assert(slot[own]==e); w=AS(w,LEASED); cell[own]=w; rd=6; goto destroy :: else -> goto spoilt fi };
spoilt:
  atomic { own=0; w=0; if :: rm==1 -> rm=0; e=0; goto resetNext :: rm==2 -> rm=0; marked=marked|(1<<e); e=0 fi };

over:
  atomic { rm=0; others++; goto end_all };
finish:
  atomic { own=0; w=0; c=0; seen=0; r=0; toldClosed=0; finished++ };
end_all:
  skip
}

init {
  byte k=0, m=0;
  atomic {
    st[0]=TAKEN;
    do :: k<PRE -> conns++; slot[k]=conns; connSlot[conns]=k; open++; cell[k]=W(IDLE,0,0); k++ :: else -> break od; k=0;
    do :: k<HOLD -> cell[k]=W(LEASED,0,0); lent[slot[k]]=1; k++ :: else -> break od; k=0;
    SHRINK=(open>max);
    do :: k<G -> run P(GETTER,k); k++ :: else -> break od; k=0;
    do :: k<ND -> run P(OPENER,0); k++ :: else -> break od; k=0;
    if :: EXPIRE+EVICT+SHRINKS+QUOTAS+FAILS>0 -> run P(SWEEPER,0) :: else -> skip fi;
#ifdef CLOSE
    run P(CLOSER,CLOSE);
#endif
#ifdef CLOSE2
    run P(CLOSER,CLOSE2);
#endif
#ifdef RESIZE
    run P(RESIZER,RESIZE);
#endif
#ifdef RESIZE2
    run P(RESIZER,RESIZE2);
#endif
#ifdef RESET
    run P(RESETTER,0);
#endif
#ifdef WATCH
    run P(WATCHER,0);
#endif
#ifdef REVOKE
    run P(REVOKER,0);
#endif
#ifdef TRYGET
    run P(TRYER,0);
#endif
    do :: k<HOLD -> run P(HOLDER,k); k++ :: else -> break od; k=0;
#ifdef WARM
    run P(WARMER,0);
#endif
#ifdef FRESH
    run P(EVICTER,0);
#endif
#ifdef STRICT
    run P(DISPOSER,0); run P(DISPOSER,1);
#endif
    skip
  }
  timeout;
  atomic {
    assert(finished==G+TRIES+HOLD);
    assert(others==OTHERS);
    assert(U==0 && opening==0 && leaving==0 && empty(start));
    
    assert((!SHRINK || open>max) && !heldBack && dying==0);
    k=0; do :: k<G -> assert(empty(ch[k])); k++ :: else -> break od;
    k=1; do :: k<=linked -> assert(!LIVE(k)); k++ :: else -> break od;
    k=0; do :: k<N -> 
       if :: PH(cell[k])==IDLE -> m++; assert(slot[k]!=0 && !gone[slot[k]] && !unfit[slot[k]] && connEra[slot[k]]==era)
          :: PH(cell[k])==VACANT -> assert(slot[k]==0)
          :: else -> assert(KEEP+KEEPG>0 && PH(cell[k])==LEASED && slot[k]!=0 && lent[slot[k]]); m++
       fi; k++ :: else -> break od;
    assert(m==open);
    if :: open>max -> k=0; do :: k<N -> assert(PH(cell[k])!=IDLE); k++ :: else -> break od :: else -> skip fi;      /* nothing idle is too many */
    assert(open<=max || KEEP+KEEPG>0);
    k=1; do :: k<=conns -> assert(!lent[k] || KEEP+KEEPG>0); if :: !gone[k] -> m-- :: else -> skip fi; k++ :: else -> break od;
    assert(m==0)
  }
}
