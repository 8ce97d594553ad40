/* The sweeper's sleep (sweep.go, pass.go, quota.go): it must not sleep for ever while somebody waits who
   may expire, while something is open that may grow old, while Check or Clean is called, or while an
   open is held back.

   waiting, open, calls and due are what it has to know of. Whoever changes one of them wakes the sweeper
   unless a flag says that it is awake or will be in time; the sweeper sets the flag back, then looks again.
   Time is a choice: a sleep with an end may end at once.

   With -DENDS=n, n connections are opened whose lives end before the next regular pass (life.go). Only a
   sleep until the first of the ends that a pass has seen is short enough for them.

   With -DCALLS=n there is no MaxWaitTime and there are no regular passes, but n calls of Check or Clean.

   Knobs: WAITERS, OPENS, HOLDS, CALLS, ENDS: how many there are of each. BUG=n: a seeded fault, see the table in run. */
#ifndef WAITERS
#define WAITERS 1
#endif
#ifndef OPENS
#define OPENS 1
#endif
#ifndef HOLDS
#define HOLDS 0
#endif
#ifndef CALLS
#define CALLS 0
#endif
#ifndef ENDS
#define ENDS 0
#endif
#ifndef BUG
#define BUG 0
#endif
#if CALLS>0
#define RARE 1
#else
#define RARE 0
#endif
byte waiting=0, open=0, due=0, calls=0;          /* due: what was held back and has not been begun */
#if ENDS>0
byte stored=0, noted=0;                          /* connections that end soon: in their slots; of which a pass knows */
bit endSoon=0;
#endif
bit armed=0, unaware=1, heldBack=0, passNow=0;   /* the sweeper's flags */
bit asleep=0, endless=0;
chan kick = [1] of { bit };

inline kickSweeper() { atomic { if :: len(kick)==0 -> kick!1 :: else -> skip fi } }      /* @ sweep.go kickSweeper kick<- */

inline mindSlots() {
  if
  :: !unaware -> skip
  :: else ->
     atomic { if :: unaware -> unaware=0; ok=1 :: else -> ok=0 fi };         /* @ sweep.go tellOfSlots unaware.CompareAndSwap */
     if
     :: ok -> ok=0; passNow=1;                                               /* @ sweep.go tellOfSlots passNow.Store */
        kickSweeper()
     :: else -> skip
     fi
  fi
}

proctype Waiter() {
  bit ok=0;
#if BUG!=4
  waiting++;                       /* enqueue */
#endif
  if
  :: armed -> skip
  :: else ->
     atomic { if :: !armed -> armed=1; ok=1 :: else -> ok=0 fi };            /* @ sweep.go wakeSweeper armed.CompareAndSwap */
     if :: ok -> ok=0; kickSweeper() :: else -> skip fi
  fi;
#if BUG==4
  waiting++
#endif
}

proctype Opened() {
  bit ok=0;
  open++;                          /* the census */
  mindSlots()
}

proctype Asker() {                 /* ask, for a connection that is open */
  bit ok=0;
  open>0;
#if BUG==6
  mindSlots(); calls++
#else
  calls++;                         /* its call word */
  mindSlots()
#endif
}

#if ENDS>0
proctype Ending() {
#if BUG==7
  endSoon=1; stored++;
#else
  stored++;                        /* settle has published it */
  endSoon=1;                                                                 /* @ life.go mindEnd endSoon.Store */
#endif
  kickSweeper()
}

proctype Sweeper() {               /* of it, what a pass does for those that end soon */
again:
  atomic { asleep=0; endless=0 };
  if
  :: atomic { !endSoon -> goto looked }                                      /* it is too early */
  :: atomic { endSoon || true -> skip }                                      /* or it passes for another reason */
  fi;
#if BUG!=8
  endSoon=0;                                                                 /* @ pass.go pass endSoon.Store */
#endif
  noted=stored;
#if BUG==8
  endSoon=0;                       /* after the look */
#endif
looked:
  atomic { asleep=1; endless=1 };  /* until the first end that it knows of, which is too late for others */
end_sleep:
  atomic { kick?_ -> goto again }
}
#else

proctype Holds() {
  due++;                           /* somebody waits, and nothing is begun */
  if
  :: atomic { !heldBack -> heldBack=1 }; kickSweeper()
  :: atomic { heldBack -> skip }
  fi
}

proctype Sweeper() {
  bit timed=0, next=0, lingers=0, last=0;      /* timed: the sleep has an end; next: nextPass is set */
again:
  atomic { asleep=0; endless=0; timed=0 };
#if CALLS==0
expire:
  if
  :: atomic { waiting>0 -> timed=1; if :: true -> waiting-- :: true -> skip fi }          /* the oldest expires now, or later */
  :: atomic { waiting==0 -> skip };
     if                            /* disarm */
     :: atomic { !armed -> skip }
     :: atomic { armed -> timed=1 }                                          /* remains armed until MaxWaitTime from now */
     :: atomic { armed -> skip };
        armed=0;                                                             /* @ sweep.go disarm armed.Store */
#if BUG!=1
        if
        :: atomic { waiting==0 -> skip }
        :: atomic { waiting>0 -> skip };
           armed=1;                                                          /* @ sweep.go disarm armed.Store #2 */
           goto expire
        fi
#endif
     fi
  fi;
#endif
  if                               /* lift */
  :: atomic { !heldBack -> skip }
  :: atomic { heldBack -> skip };
#if BUG!=5
     heldBack=0;
#endif
     if
     :: atomic { due>0 -> due=0 }                                            /* it is time */
     :: atomic { due>0 -> skip }; heldBack=1; timed=1
     :: atomic { due==0 -> skip }
     fi;
#if BUG==5
     heldBack=0;                   /* after the look */
#endif
  fi;
  if                               /* is anything open? */
  :: atomic { open>0 -> skip }; goto pass
  :: atomic { open==0 -> skip };
     unaware=1;                                                              /* @ sweep.go duties unaware.Store */
#if BUG!=3
     if
     :: atomic { open==0 -> skip }
     :: atomic { open>0 -> skip };
        unaware=0;                                                           /* @ sweep.go duties unaware.Store #2 */
        goto pass
     fi;
#endif
     goto looked
  fi;
pass:
  if
  :: atomic { next && !passNow -> timed=1; goto looked }                     /* it is too early */
  :: atomic { passNow || !next || true -> skip }
  fi;
  passNow=0;                                                                 /* @ pass.go pass passNow.Store */
#if CALLS==0
  atomic { timed=1; next=1; if :: open>0 -> open-- :: true -> skip fi };     /* MaxIdleTime is over, or not yet */
#else
  atomic { last=(lingers || unaware) };
#if BUG!=2
  if :: last -> unaware=1 :: else -> skip fi;                                /* @ pass.go pass unaware.Store */
#endif
  atomic { next=0; lingers=0; if :: calls>0 -> next=1; if :: true -> calls-- :: true -> skip fi :: else -> lingers=!last fi };      /* limitCall abandons it, or not yet */
#if BUG==2
  if :: last -> unaware=1 :: else -> skip fi;                                /* after the look */
#endif
  if
  :: next || !last -> next=1; timed=1;
     unaware=0                                                               /* @ pass.go pass unaware.Store #2 */
  :: else -> skip
  fi;
  last=0;
#endif
looked:
  atomic { asleep=1; endless=!timed };
end_sleep:
  if
  :: atomic { timed -> goto again }
  :: atomic { kick?_ -> goto again }
  fi
}
#endif

init {
  byte k=0;
  atomic {
    run Sweeper();
#if ENDS>0
    do :: k<ENDS -> run Ending(); k++ :: else -> break od
#else
    do :: k<WAITERS -> run Waiter(); k++ :: else -> break od; k=0;
    do :: k<OPENS -> run Opened(); k++ :: else -> break od; k=0;
    do :: k<HOLDS -> run Holds(); k++ :: else -> break od; k=0;
    do :: k<CALLS -> run Asker(); k++ :: else -> break od
#endif
  }
  timeout;
#if ENDS>0
  assert(noted==stored);
#endif
  assert(asleep && endless && waiting==0 && (open==0 || CALLS>0) && due==0 && calls==0)
}
