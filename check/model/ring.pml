/* The ring: how an idle slot is found (ring/search.go), and how far one must look (ring/ring.go).

   The words are the truth; a hint for each slot is one bit, set lazily by whoever leaves a slot idle and
   finds it clear, cleared by whoever looks at a slot in vain. The group of hints is one word; a bit is
   set and cleared in it by a loop of compare-and-swaps, one step here, as it ends when the bit is so.

   Checked: a slot has one owner; at rest every idle slot has its hint; a Scan that finds nothing has seen
   each slot not idle at some instant of the call; Claim raises high in time for that.

   Knobs: N slots, T goroutines, ROUNDS of each, PRE slots idle at the start, EMPTY: they may empty and
   claim slots, SCAN: they may scan. BUG=n: a seeded fault, see the table in run. */
#ifndef N
#define N 2
#endif
#ifndef T
#define T 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef PRE
#define PRE N
#endif
#ifndef BUG
#define BUG 0
#endif

#define VACANT 0
#define BUSY   1
#define IDLE   2
#define LEASED 3
byte cell[N], owner[N];            /* owner: a ghost, 0 for nobody */
byte hints=0, high=PRE, finished=0;
byte notIdle[T];                   /* ghost: bit i: slot i has not been idle at some instant of the scan of this goroutine */

/* Whoever takes a slot tells those who scan. */
inline noteTaken(s) { k=0; do :: k<T -> notIdle[k]=notIdle[k]|(1<<s); k++ :: else -> break od; k=0 }

inline take(s) {                   /* tryTake: a swap that is lost is as good as a word that is not idle */
  atomic {
    if
    :: cell[s]==IDLE -> cell[s]=LEASED; assert(owner[s]==0); owner[s]=me+1; noteTaken(s); ok=1   /* @ ring/ring.go move cell().CompareAndSwap */
    :: else -> ok=0
    fi }
}

proctype Worker(byte me) {
  byte s=0, b=0, r=0, k=0, h=0; bit ok=0, hinted=0;
again:
  atomic { s=0; b=0; h=0; ok=0; if :: r==ROUNDS -> goto done :: else -> r++ fi };
  if
#ifdef SCAN
  :: atomic { true -> h=high; notIdle[me]=0;                                 /* Scan */
       k=0; do :: k<N -> if :: cell[k]!=IDLE -> notIdle[me]=notIdle[me]|(1<<k) :: else -> skip fi; k++ :: else -> break od; k=0 };
     do
     :: s<h -> take(s); if :: ok -> break :: else -> s++ fi
     :: else -> break
     od;
     atomic { if :: !ok -> assert(notIdle[me]==(1<<N)-1) :: else -> skip fi; notIdle[me]=0; h=0 }
#endif
  :: s=0; goto start
  :: N>1 -> s=N-1;
start:                             /* Take: at the start, which may be any slot */
     take(s);                                                                /* @ ring/search.go Take cell.CompareAndSwap */
     if
     :: ok -> skip
     :: else ->                    /* search: by the hints */
        atomic { s=0; b=hints };
        do
        :: s<N && !((b>>s)&1) -> s++
        :: s<N && ((b>>s)&1) ->
           take(s);
           if :: ok -> break
              :: else ->
                 if
                 :: s++            /* one of the first misses */
                 :: true ->
#if BUG==5
                    hints=0;                                                 /* clears the whole group */
#else
                    hints=hints&~(1<<s);                                     /* @ ring/search.go clearHint h.CompareAndSwap */
#endif
#if BUG==1
                    s++                                                      /* and does not look again */
#else
                    take(s);
                    if :: ok -> break :: else -> s++ fi
#endif
                 fi
           fi
        :: s>=N -> break
        od
     fi
  fi;
  b=0;
  if :: !ok -> goto again :: else -> ok=0 fi;
#ifdef EMPTY
  if
  :: true ->                       /* Reserve, Vacate, Claim, Fill */
     atomic { assert(cell[s]==LEASED && owner[s]==me+1); cell[s]=BUSY };
     atomic { cell[s]=VACANT; owner[s]=0; s=0 };
     do                            /* Claim: there is a slot for each that has been vacated, but it may be missed in a round */
     :: atomic { if :: cell[s]==VACANT -> cell[s]=BUSY; assert(owner[s]==0); owner[s]=me+1; ok=1 :: else -> s=(s+1)%N fi };
        if :: ok -> ok=0; break :: else -> skip fi
     od;
#if BUG!=3
     atomic { if :: high<s+1 -> high=s+1 :: else -> skip fi };               /* @ ring/ring.go raise high.CompareAndSwap */
#endif
     atomic { assert(cell[s]==BUSY && owner[s]==me+1); cell[s]=LEASED }
  :: true -> skip
  fi;
#endif
#if BUG==2
  hinted=(hints>>s)&1;                                                       /* reads the hint before the slot is idle */
#endif
  atomic { assert(cell[s]==LEASED && owner[s]==me+1); owner[s]=0; cell[s]=IDLE };     /* Give, Publish */
#if BUG!=2
  hinted=(hints>>s)&1;
#endif
  if :: hinted -> hinted=0 :: else -> hints=hints|(1<<s) fi;                 /* @ ring/search.go setHint h.CompareAndSwap */
#if BUG==3
  atomic { if :: high<s+1 -> high=s+1 :: else -> skip fi };                  /* raises high when the slot can be taken already */
#endif
  goto again;
done:
  finished++
}

/* A goroutine that claims a vacant slot and gives it. */
#ifdef CLAIM
proctype Claimer(byte me) {
  byte s=0, k=0; bit ok=0, hinted=0;
  do
  :: atomic { if :: cell[s]==VACANT -> cell[s]=BUSY; assert(owner[s]==0); owner[s]=me+1; ok=1 :: else -> s=(s+1)%N fi };
     if :: ok -> ok=0; break :: else -> skip fi
  od;
#if BUG!=3
  atomic { if :: high<s+1 -> high=s+1 :: else -> skip fi };
#endif
  atomic { assert(cell[s]==BUSY && owner[s]==me+1); cell[s]=LEASED };
  atomic { owner[s]=0; cell[s]=IDLE };
  hinted=(hints>>s)&1;
  if :: hinted -> hinted=0 :: else -> hints=hints|(1<<s) fi;
#if BUG==3
  atomic { if :: high<s+1 -> high=s+1 :: else -> skip fi };
#endif
  finished++
}
#define CLAIMS 1
#else
#define CLAIMS 0
#endif

init {
  byte k=0;
  atomic {
    do :: k<PRE -> cell[k]=IDLE; hints=hints|(1<<k); k++ :: else -> break od; k=0;
    do :: k<T -> run Worker(k); k++ :: else -> break od; k=0;
#ifdef CLAIM
    run Claimer(T)
#else
    skip
#endif
  }
  timeout;
  atomic {
    assert(finished==T+CLAIMS);
    k=0;
    do
    :: k<N -> assert(cell[k]==IDLE || k>=PRE && cell[k]==VACANT || cell[k]==VACANT);
       if :: cell[k]==IDLE -> assert((hints>>k)&1); assert(high>k) :: else -> skip fi; k++
    :: else -> break
    od
  }
}
