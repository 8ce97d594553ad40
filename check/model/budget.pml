/* Pools that share a budget: rights.go, budget.go, and what settle, Put and wait do for it.
 *
 * POOLS pools have one slot each. The first has the only right, and a lease. In each pool from the
 * second on WAITS callers come and wait; in the first, OWN do. CANCEL is a set of pools in which the
 * ctx of one may end. Whoever is served puts the connection back. What the mutex guards is
 * changed in atomic steps. A grant, a close and an open are processes of their own: in the code some
 * are calls, whose orders are among these.
 *
 * What the explorer finds in the code at once has no seeded fault here: who looks before the flag is
 * set, or not at all, and what is promised before it is taken.
 *
 * At the end: nobody waits, stands in the line or is promised anything, and the right is with
 * one connection, or free.
 */
#ifndef POOLS
#define POOLS 2
#endif
#ifndef WAITS
#define WAITS 1
#endif
#ifndef OWN
#define OWN 0
#endif
#ifndef CANCEL
#define CANCEL 0
#endif
#ifndef BUG
#define BUG 0
#endif
#define VACANT 0
#define IDLE 1
#define HELD 2

byte slot[3];                      /* the ring */
byte waiting[3];                   /* the gate, and the queue */
byte opening[3];                   /* the census */
byte served[3];                    /* tokens on their way to callers */
bit flag[3];                       /* GateAsked */
byte free=0, coming=0, used=1;     /* used: rights in hands, of attempts and connections */
byte asks[3];                  /* the line: for how many a pool stands there */
byte lacking=0;                    /* the sum of asks */

inline dispatch() {                /* within atomic */
  do
  :: free>0 && lacking>0 ->        /* to any of them: the order is another matter */
     if
     :: asks[0]>0 -> k=0
     :: asks[1]>0 -> k=1
     :: asks[2]>0 -> k=2
     fi;
     asks[k]--; lacking--; free--; used++; run Granted(k)
  :: else -> k=0; break
  od
}

inline look() {
  do
  :: atomic { lacking<=coming -> break }
  :: atomic { lacking>coming -> found=POOLS; j=0;
     };
     atomic {
       do
       :: j<POOLS -> if :: slot[j]==IDLE && asks[j]==0 -> found=j :: else -> skip fi; j++
       :: else -> j=0; break
       od
     };
     if
     :: found==POOLS -> found=0;
        break
     :: else ->
        atomic {
          if
          :: slot[found]==IDLE -> slot[found]=HELD; ok=1
          :: else -> ok=0
          fi
        };
        if
        :: ok ->
           atomic {
             if
             :: lacking>coming -> coming++; run Closer(found, 1)
             :: else -> run Settle(found, 0)
             fi
           }
        :: else -> skip
        fi;
        found=0; ok=0
     fi
  od
}

inline minds(q) {
  cleared=0;
  do
  :: asked=(lacking>0);
     flag[q]=asked;
     if
     :: asked && cleared -> look()
     :: else -> skip
     fi;
     cleared=!asked;
     if :: (lacking>0)==asked -> break :: else -> skip fi
  od;
  asked=0; cleared=0
}

inline mindsAll() {
  atomic {                         /* of all that have rights, which is one at most */
    do
    :: m<POOLS && slot[m]==VACANT && opening[m]==0 -> m++
    :: else -> break
    od
  };
  if
  :: m<POOLS -> minds(m)
  :: else -> skip
  fi;
  m=0
}

inline giveBack(n, yielded) {
  atomic {
    was=(lacking>0); free=free+n; used=used-n; coming=coming-yielded;
    dispatch();
    was=(was!=(lacking>0))
  };
  if :: was -> was=0; mindsAll() :: else -> skip fi
}

/* openWithin, with so many rights in hand */
inline openWithin(p, have) {
  do
  :: atomic {
       if
       :: have>0 && waiting[p]>opening[p] -> have--; opening[p]++; run Opened(p); ok=1
       :: else -> ok=0; lacks=(waiting[p]>opening[p] -> waiting[p]-opening[p] : 0)
       fi
     };
     if
     :: ok -> skip
     :: else ->
        if
        :: have>0 ->
#if BUG!=105
           giveBack(have, 0);
#endif
           have=0
        :: else -> skip
        fi;
        if
        :: lacks==asks[p] -> lacks=0; break
        :: else ->
           atomic {                /* ask */
             was=(lacking>0);
             have=(free<lacks -> free : lacks);
             free=free-have; used=used+have;
             lacking=lacking-asks[p]; asks[p]=lacks-have; lacking=lacking+asks[p];
             dispatch();
             was=(was!=(lacking>0))
           };
           if :: was -> was=0; mindsAll() :: else -> skip fi;
           if :: lacks>have -> look() :: else -> skip fi;
           if
           :: have>0 -> minds(p)
           :: else -> skip
           fi;
#if BUG==100
           if :: have==0 -> break :: else -> skip fi
#endif
        fi
     fi
  od
}

/* Settle: opened says that nobody has had the connection. */
proctype Settle(byte p; bit opened) {
  byte k=0, j=0, m=0, found=0, lacks=0, have=0;
  bit ok=0, was=0, asked=0, cleared=0, mine=0;
  do
  :: mine=0;
     if
     :: flag[p] ->
        atomic {                   /* yields: exactly, if nobody waits here; else it depends on who came first */
          if
          :: lacking-asks[p]>coming && (waiting[p]==0) -> coming++; mine=1
          :: lacking-asks[p]>coming && waiting[p]>0 && !opened -> if :: coming++; mine=1 :: skip fi
          :: else -> skip
          fi
        }
     :: else -> skip
     fi;
     if
     :: mine -> run Closer(p, 1); break
     :: else -> skip
     fi;
     atomic {
       if
       :: waiting[p]>0 -> waiting[p]--; served[p]++; ok=1       /* grant */
       :: else -> ok=0
       fi
     };
     if
     :: ok ->
#if BUG!=101
        if :: asks[p]>0 -> openWithin(p, have) :: else -> skip fi;            /* fewerWait */
#endif
        break
     :: else -> skip
     fi;
     slot[p]=IDLE;
     if
     :: waiting[p]>0 -> skip
     :: waiting[p]==0 && flag[p] -> if :: lacking-asks[p]>coming -> skip :: else -> break fi
     :: waiting[p]==0 && !flag[p] -> break
     fi;
     atomic { if :: slot[p]==IDLE -> slot[p]=HELD; ok=1 :: else -> ok=0 fi };
     if :: ok -> opened=0 :: else -> break fi
  od
}

proctype Closer(byte p; bit yielded) {
  byte k=0, j=0, m=0, found=0;
  bit ok=0, was=0, asked=0, cleared=0;
  slot[p]=VACANT;
  giveBack(1, yielded)
}

proctype Granted(byte p) {
  byte k=0, j=0, m=0, found=0, lacks=0, have=1;
  bit ok=0, was=0, asked=0, cleared=0;
  minds(p);
  openWithin(p, have)
}

proctype Opened(byte p) {
  atomic { slot[p]==VACANT -> slot[p]=HELD; opening[p]-- };
  run Settle(p, 1)
}

proctype Waiter(byte p) {
  byte k=0, j=0, m=0, found=0, lacks=0, have=0;
  bit ok=0, was=0, asked=0, cleared=0;
  waiting[p]++;
  atomic { if :: slot[p]==IDLE -> slot[p]=HELD; ok=1 :: else -> ok=0 fi };    /* looks again */
  if
  :: ok -> run Settle(p, 0)
  :: else -> skip
  fi;
  openWithin(p, have);
  do
  :: atomic { served[p]>0 -> served[p]--; ok=1; break }
  :: (CANCEL & (1<<p)) && waiting[p]>0 ->
     atomic { if :: waiting[p]>0 -> waiting[p]--; ok=0; lacks=1 :: else -> lacks=0 fi };
     if
     :: lacks ->
#if BUG!=101
        if :: asks[p]>0 -> openWithin(p, have) :: else -> skip fi;
#endif
        ok=0; break
     :: else -> skip
     fi
  od;
  if
  :: ok -> run Settle(p, 0)        /* Put */
  :: else -> skip
  fi
}

init {
  byte p=1, n=0;
  atomic {
    slot[0]=HELD;
    do
    :: p<POOLS ->
       n=0;
       do :: n<WAITS -> run Waiter(p); n++ :: else -> break od;
       p++
    :: else -> break
    od;
    n=0;
    do :: n<OWN -> run Waiter(0); n++ :: else -> break od;
    run Settle(0, 0)               /* Put */
  };
  timeout;
  p=0; n=0;
  do
  :: p<POOLS ->
     assert(waiting[p]==0 && opening[p]==0 && served[p]==0 && asks[p]==0 && slot[p]!=HELD);
     if :: slot[p]==IDLE -> n++ :: else -> skip fi;
     p++
  :: else -> break
  od;
  assert(lacking==0 && coming==0 && free+used==1 && used==n)
}
