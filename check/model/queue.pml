/* The queue of waiters alone (internal/queue), with everything that decides a waiter: those who hand on a
   connection, those who expire, refuse the asker of an open, leave, and unlink from the middle.

   One step is one atomic operation. The load before a compare-and-swap is one step with it where the
   load decides nothing but whether to try: a lost swap is then what a load at that instant would see.
   Memory is sequentially consistent, as that of Go's atomics is.

   A node has no number of its own before it is linked, because nobody else can see it. So numbers
   are given by the link, and the order of numbers is the order of the queue.

   Knobs: G callers, ROUNDS waits each, with the same channel
          CANCEL=mask of the callers whose ctx ends
          GRANT=n goroutines that hand on UNITS connections each
          EXPIRE=n passes of the sweeper that expire the oldest; UNLINK=n passes that unlink
          REFUSE: an open fails and its asker, caller 0, is told wherever it stands
          COUNT: a reader of count()
          PRELINK=n: the first n callers are linked already
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
#ifndef BUG
#define BUG 0
#endif

#define NN  (1+G*ROUNDS)
#define NIL 31                     /* next == nil; a node whose next is itself is severed */

#define LOOKING 0
#define PARKED  1
#define TAKEN   2
#define LEFT    3
#define LIVE(n) (st[n]<TAKEN)

byte nxt[NN], st[NN], who[NN];
byte num[NN];
byte head=0, tail=0, linked=0;
byte U=0;                          /* the gate's count of waiters */
byte finished=0, others=0;
short severed=0;                    /* ghost: nodes that have left the list, and lead nowhere */
byte nodeOf[G];                    /* ghost: the node on which a caller waits, 0 for none */
chan ch[G] = [1] of { byte };      /* a parker's channel, used again in every round; a token names its node */

/* front returns f, the oldest live waiter or NIL, and h, the dummy before it. */
inline front() {
  do
  :: h = head;
     if
     :: atomic { nxt[h]==NIL -> f=NIL; h=0; break }                          /* nobody waits, at the instant of this load */
     :: atomic { nxt[h]==h -> assert(head!=h); h=0 }                         /* severed: head has moved on */
     :: atomic { nxt[h]!=NIL && nxt[h]!=h -> nx=nxt[h] };
        if
        :: atomic { LIVE(nx) -> f=nx; nx=0; break }
        :: atomic { !LIVE(nx) -> skip }; advance(); h=0; nx=0
        fi
     fi
  od
}

/* advance makes nx, which is decided, the dummy in place of h. */
inline advance() {
#if BUG!=12
  atomic { if :: tail==h -> tail=nx :: else -> skip fi };                    /* @ queue/queue.go Advance tail.CompareAndSwap */
#endif
  if
  :: atomic { head==h -> head=nx; assert(!LIVE(nx)) };                       /* @ queue/queue.go Advance head.CompareAndSwap */
     atomic { nxt[h]=h; severed=severed|(1<<h) }                             /* @ queue/queue.go Advance next.Store */
  :: atomic { head!=h -> skip }
  fi
}

/* Whoever decides the oldest asserts that nobody older lives. */
inline oldest(n) {
  g1=1; do :: g1<n -> assert(!LIVE(g1)); g1++ :: else -> break od; g1=0
}

/* One token for each node, into an empty channel: the send never blocks. */
inline send(n) {
  atomic { assert(len(ch[who[n]])==0 && nodeOf[who[n]]==n); ch[who[n]]!n }
}

proctype Caller(byte me; bit canc) {
  byte nd=0, t=0, nx=0, h=0, f=0, tok=0, r=0;
  if :: me<PRELINK -> nd=me+1; r=1; goto end_wait :: else -> skip fi;
again:
  if :: r>=ROUNDS -> goto done :: else -> r++ fi;
  U++;
  do
  :: t = tail;
     if
     :: atomic { nxt[t]==t -> assert(tail!=t); t=0 }                         /* severed: tail has moved on */
     :: atomic { nxt[t]!=NIL && nxt[t]!=t -> nx=nxt[t] };
        atomic { if :: tail==t -> tail=nx :: else -> skip fi; nx=0; t=0 }    /* @ queue/queue.go Enqueue tail.CompareAndSwap */
     :: atomic { nxt[t]==NIL -> skip };
        if
        :: atomic { nxt[t]==NIL ->                                           /* @ queue/queue.go Enqueue next.CompareAndSwap */
             linked++; nd=linked; assert(nd==t+1 || BUG);
             st[nd]=LOOKING; who[nd]=me; nxt[nd]=NIL; num[nd]=num[t]+1; nxt[t]=nd; nodeOf[me]=nd };
           atomic { if :: tail==t -> tail=nd :: else -> skip fi; t=0; break }   /* @ queue/queue.go Enqueue tail.CompareAndSwap #2 */
        :: atomic { nxt[t]!=NIL -> t=0 }
        fi
     fi
  od;
  atomic { if :: st[nd]==LOOKING -> st[nd]=PARKED :: else -> skip fi };      /* @ queue/queue.go Park state.CompareAndSwap */
end_wait:
  if
  :: ch[me]?tok -> assert(tok==nd)
  :: canc ->
     if
     :: ch[me]?tok -> assert(tok==nd)                                        /* select may see either */
     :: atomic { LIVE(nd) -> st[nd]=LEFT };                                  /* @ queue/queue.go Decide state.CompareAndSwap */
        atomic { U--; nodeOf[me]=0 };                                        /* @ wait.go unregister gate.Sub */
        front(); h=0; f=0
     :: atomic { !LIVE(nd) -> skip };
#if BUG==9
        nd=0; nodeOf[me]=0; goto again;
#endif
        ch[me]?tok; assert(tok==nd)                                          /* the one token that somebody owes */
     fi
  fi;
  atomic { nd=0; tok=0; nodeOf[me]=0 };
  goto again;
done:
  finished++
}

/* settle and grant, as far as the queue is concerned. */
proctype Granter() {
  byte h=0, nx=0, f=0, g1=0, k=0;
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
           nx=f; advance(); h=0; nx=0; f=0; k++
        :: atomic { !LIVE(f) -> skip }; h=0; f=0                             /* decided by somebody else: on to the next */
        fi
     fi
  :: else -> break
  od;
  others++
}

/* openFailed for an asker: it is told wherever it stands, then the front is trimmed. */
proctype Refuser() {
  byte h=0, nx=0, f=0, n=0;
  if
  :: atomic { nodeOf[0]!=0 && LIVE(nodeOf[0]) -> n=nodeOf[0]; st[n]=TAKEN };
     U--;                                                                    /* @ wait.go unregister gate.Sub */
     send(n);                                                                /* @ settle.go refuse ch<- */
     front(); h=0; f=0
  :: true -> skip
  fi;
  n=0;
  others++
}

proctype Sweeper() {
  byte h=0, nx=0, f=0, h0=0, prev=0, cur=0, k=0, k2=0, g1=0;
  do
  :: k<EXPIRE -> k++;
     front();
     if
     :: f==NIL -> f=0
     :: else ->
        if
        :: atomic { LIVE(f) -> oldest(f); st[f]=TAKEN }; U--; send(f); nx=f; advance()
        :: atomic { !LIVE(f) -> skip }
        fi; h=0; nx=0; f=0
     fi
  :: k2<UNLINK -> k2++;
     h0 = head;
     prev = nxt[h0];
     if
     :: prev==NIL || prev==h0 -> skip
     :: else ->
        do
        :: cur = nxt[prev];
           if :: cur==NIL || cur==prev -> break :: else -> skip fi;
           if
           :: atomic { LIVE(cur) -> skip };
              nx = nxt[cur];
              if :: nx==NIL || nx==cur -> break :: else -> prev=cur; cur=0; nx=0 fi
           :: atomic { !LIVE(cur) -> skip };
              nx = nxt[cur];
              if :: nx==cur -> break
#if BUG!=4
                 :: nx==NIL -> break                                         /* Q4: never the last one */
#endif
                 :: else -> skip fi;
#if BUG!=5 && BUG!=4
              atomic { if :: tail==cur -> tail=nx :: else -> skip fi };      /* @ queue/queue.go Unlink tail.CompareAndSwap */
#endif
              if
#if BUG==13
              :: nxt[prev]=nx                                                /* a store: prev may have been severed */
#else
              :: atomic { nxt[prev]==cur -> nxt[prev]=nx }                   /* @ queue/queue.go Unlink next.CompareAndSwap */
              :: atomic { nxt[prev]!=cur -> break }
#endif
              fi;
#if BUG!=6
              if :: head==h0 -> skip :: else -> break fi;
#endif
              if :: nx!=NIL -> nxt[cur]=cur :: else -> break fi;             /* @ queue/queue.go Unlink next.Store */
              cur=0; nx=0
           fi
        od
     fi;
     atomic { h0=0; prev=0; cur=0; nx=0 }
  :: break
  od;
  others++
}

/* count says how many have come to wait: no more than have when it returns, and no fewer than had when it
   began. A tail that was severed meanwhile is read again. */
proctype Counter() {
  byte t=0, nx=0, least=0, got=0;
  least=linked;
  do
  :: t=tail;
     nx=nxt[t];
     if :: nx==t -> skip
        :: nx==NIL -> got=num[t]; break
        :: else -> got=num[nx]; break
     fi
  od;
  atomic { assert(got>=least && got<=linked); least=0; got=0; nx=0; t=0 };
  others++
}

init {
  byte k=0, i2=0, n2=0;
  atomic {
    st[0]=TAKEN; nxt[0]=NIL; head=0; tail=0;                                 /* @ queue/queue.go Init state.Store */
                                                                             /* @ queue/queue.go Init head.Store */
                                                                             /* @ queue/queue.go Init tail.Store */
    do :: k<PRELINK -> k++; nxt[k-1]=k; nxt[k]=NIL; who[k]=k-1; nodeOf[k-1]=k; num[k]=k; st[k]=PARKED; linked=k; tail=k; U++
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
    i2=head; assert(!LIVE(i2));
    do :: nxt[i2]!=NIL -> assert(nxt[i2]!=i2); assert(num[nxt[i2]]>num[i2]); i2=nxt[i2]; if :: LIVE(i2) -> n2++ :: else -> skip fi :: else -> break od;
    assert(i2==tail || nxt[tail]==i2);
    assert(n2==U);                 /* every live waiter can be reached */
    k=0; do :: k<=linked -> assert(!((severed>>k)&1) || nxt[k]==k); k++ :: else -> break od;      /* they still do */
    n2=0; k=1;
    do :: k<=linked -> if :: LIVE(k) -> n2++ :: else -> skip fi; k++ :: else -> break od;
    assert(n2==U);
    assert(n2+finished==G);        /* nobody hangs on a node that is decided */
    k=0; do :: k<G -> assert(len(ch[k])==0); k++ :: else -> break od
  }
}
