/* What two may end: a call of Check or Clean (limit.go), an attempt to open (open.go), a call of
   Factory.Close (close.go), and the pool itself (close.go, allGone).

   CALL: a slot is held while Check or Clean is called for the connection in it, CALLS times; the
   sweeper abandons a call that takes too long; REVOKE: Revoke takes the slot, and it is somebody else's at once;
   LOOK: the call is made for a Get in another goroutine, whose ctx may end. The connection counts as being probed
   until whoever has the slot in the end counts it off.
   ATTEMPT: an attempt is counted as overdue, is abandoned, and returns a connection, or none.
   GONE: CONNS connections are closed, by calls of Factory.Close that return or are abandoned, and one
   is being opened, while CLOSERS close the pool; the attempt and the sweeper are the goroutines that
   Close waits for.
   BUG=n: a seeded fault, see the table in run. */
#ifndef BUG
#define BUG 0
#endif
byte finished=0, expected=0;

#ifdef CALL
#ifndef CALLS
#define CALLS 2
#endif
#define LEASED 0
#define BUSY   1
#define VACANT 2
#define IDLE   3
byte phase=LEASED, gen=0;          /* the slot's word */
bit inSlot=1;
byte call=0, asked=0;
bit tenant=0;                      /* the next connection is in the slot, and in somebody's hands */
byte emptied=0, opening=0;
#ifdef LOOK
/* The call is made for a Get in another goroutine (look.go), which may leave, or takes the slot. */
#define UNDERWAY 0
#define ANSWERED 1
#define LEFT     2
byte look=UNDERWAY; bit fit=0, told=0, given=0; byte leased=0; short adrift=0;
inline answer(f) {
  atomic { if :: look==UNDERWAY -> look=ANSWERED; ok=1 :: else -> ok=0 fi };  /* @ look.go answer state.CompareAndSwap */
  if
  :: ok -> ok=0; fit=f; leased=g; atomic { assert(!told); told=1 }                     /* @ look.go answer done.close */
  :: else ->
     if :: f -> atomic { assert(!given); given=1 }; atomic { if :: phase==LEASED && gen==g -> phase=IDLE :: else -> skip fi } :: else -> skip fi;
     adrift--                                                                /* @ look.go lookApart adrift.Dec */
                                                                             /* @ look.go leaveLook adrift.Dec */
  fi
}
proctype Get() {
  byte g=0; bit ok=0;
  if
  :: told -> skip
  :: true ->                       /* ctx has ended */
#if BUG==15
     atomic { look=LEFT; ok=1 };
#else
     atomic { if :: look==UNDERWAY -> look=LEFT; ok=1 :: else -> ok=0 fi };  /* @ look.go admitFor state.CompareAndSwap */
#endif
     if :: ok -> ok=0; adrift++; goto gone :: else -> told fi                /* @ look.go admitFor adrift.Inc */
  fi;
  if
  :: fit -> atomic { assert(!given); given=1; g=leased }; atomic { if :: phase==LEASED && gen==g -> phase=IDLE :: else -> skip fi }      /* lent and put back, or settled */
  :: else -> skip
  fi;
gone:
  finished++
}
#else
inline answer(f) { if :: f -> atomic { if :: phase==LEASED && gen==g -> phase=IDLE :: else -> skip fi } :: else -> skip fi }
#endif
byte probing=1;

/* destroy: whoever reserves the slot from the word g empties it. */
inline destroy(g) {
  atomic { if :: phase==LEASED && gen==g -> phase=BUSY; ok=1 :: else -> ok=0 fi };
  if :: ok -> ok=0; atomic { assert(inSlot); inSlot=0; emptied++; assert(emptied==1) }; phase=VACANT :: else -> skip fi
}

proctype Asker() {
  byte g=0, n=0, mine=0; bit ok=0, lost=0;
  do
  :: n<CALLS -> n++;
     mine=2*n+1;
     asked=g;
     atomic { if :: call==0 -> call=mine; ok=1 :: else -> ok=0 fi };         /* @ limit.go ask call.CompareAndSwap */
     if :: ok -> ok=0 :: else -> answer(0); goto done fi;                    /* revoked */
     atomic { if :: call==mine -> call=0; ok=1 :: else -> ok=0 fi };         /* @ limit.go ask call.CompareAndSwap #2 */
     if
     :: !ok -> lost=1; goto done   /* abandoned: the slot is the sweeper's, and so is the answer */
     :: ok -> ok=0;
        if
        :: true -> destroy(g); answer(0); goto done   /* it objects */
        :: true -> atomic { if :: phase==LEASED && gen==g -> gen++; g=gen; ok=1 :: else -> ok=0 fi };     /* the next owner, or the same later: another generation */
           if :: ok -> ok=0 :: else -> answer(0); goto done fi
        fi
     fi
  :: else -> break
  od;
  answer(1);
done:
#if BUG==70
  lost=0;
#endif
  if :: !lost -> probing-- :: else -> skip fi;                               /* @ probe.go probeSlot probing.Dec */
                                                                             /* @ probe.go probeSlot probing.Dec #2 */
  finished++
}
proctype Limiter() {               /* the sweeper; at each pass it sees a call, and in a later one that it is the same */
  byte g=0, seen=0, k=0; bit ok=0;
  do
  :: k<2 -> k++;
     atomic { if :: phase==LEASED -> g=gen :: else -> goto done fi };
     atomic { if :: !inSlot -> goto done :: else -> skip fi };
     seen=call;
     if
     :: seen&1 ->
        atomic { if :: call==seen -> call=2; ok=1 :: else -> ok=0 fi };      /* @ limit.go limitCall call.CompareAndSwap */
        if
        :: ok -> ok=0;
           probing--;                                                        /* @ limit.go leaveCall probing.Dec */
#if BUG==12
           g=gen;                                                            /* the word now */
#elif BUG!=9
           g=asked;                                                          /* that of the call, and not that of the pass */
#endif
           destroy(g);
#if defined(LOOK) && BUG!=16
           answer(0);
#endif
           goto done
        :: else -> skip
        fi
     :: else -> skip
     fi
  :: else -> break
  od;
done:
  finished++
}
#ifdef REVOKE
proctype Revoker() {
  byte g=0, ended=0; bit ok=0;
  do
  :: atomic { if :: phase==LEASED -> g=gen; ok=1 :: else -> ok=0 fi };
     if :: !ok -> break :: else -> ok=0 fi;
     atomic { if :: phase==LEASED && gen==g -> gen++; g=gen; ok=1 :: else -> ok=0 fi };
     if
     :: ok -> ok=0;
        atomic { if :: call!=2 -> ended=call; call=(call==0 -> 6 : 4) :: else -> skip fi };   /* @ limit.go endCall call.CompareAndSwap */
#if BUG!=71
        if :: ended&1 -> probing-- :: else -> skip fi;                       /* leaveCall */
#endif
        destroy(g);
        atomic { assert(phase==VACANT); gen++; phase=LEASED; tenant=1 };     /* claimed, filled, lent */
#if defined(LOOK) && BUG!=17
        if :: ended&1 -> answer(0) :: else -> skip fi;
#endif
        break
     :: else -> skip
     fi
  od;
  finished++
}
#endif
#endif

#ifdef ATTEMPT
#define RUNNING   0
#define OVERDUE   1
#define GIVENUP   2
#define ASIDE     3
#define ENDED     4
#define ABANDONED 5
#define REPLACED  6
byte state=RUNNING, overdue=0, slots=1, lent=0, closed=0; bit conn=0, opened=0, aside=0;   /* slots: those that it has; two for a moment, while one is taken from it */

inline end(s) {                    /* ok: it was ours to end; held: with a slot */
  atomic { if :: state<ENDED -> was=state; state=s; ok=1 :: else -> ok=0 fi };            /* @ open.go end state.CompareAndSwap */
  if
  :: ok && was==ASIDE -> aside=0                                             /* @ open.go end aside.CompareAndSwap */
  :: ok && (was==OVERDUE || was==GIVENUP) -> atomic { assert(overdue>0); overdue-- }      /* @ open.go end overdue.Dec */
  :: else -> skip
  fi;
  held=(ok && was!=ASIDE); was=0
}
inline unlent() {
#if BUG==11
  if :: conn -> conn=0; closed++ :: else -> skip fi;
#else
  if :: conn -> atomic { if :: conn -> conn=0; ok=1 :: else -> ok=0 fi };    /* @ open.go unlent conn.Swap */
                if :: ok -> closed++ :: else -> skip fi
     :: else -> skip fi;
#endif
  ok=0
}
inline giveSlot() { atomic { assert(slots>0); slots-- } }
proctype Opener() {
  byte was=0; bit ok=0, fails=0, held=0, room=1;
  if
  :: true -> opened=1;
     if
     :: state==ASIDE ->
        if
        :: true -> atomic { assert(slots<=1); slots++ };          /* @ aside.go slotFor conns.CompareAndSwap */
           atomic { if :: state==ASIDE -> state=RUNNING; ok=1 :: else -> ok=0 fi };      /* @ aside.go readmit state.CompareAndSwap */
           if
           :: ok -> aside=0; ok=0                                            /* @ aside.go readmit aside.CompareAndSwap */
           :: else -> giveSlot(); room=0                                     /* @ aside.go readmit conns.Sub */
                                                                             /* @ aside.go readmit ring.Vacate */
           fi
        :: room=0                                                            /* all are open */
        fi
     :: else -> skip
     fi;
     conn=1;                                                                 /* @ open.go open conn.Store */
                                                                             /* @ open.go open conn.Store #2 */
     if :: true -> skip :: fails=1 fi                                        /* Watch may object */
  :: fails=1
  fi;
  end(ENDED);
  if
  :: !ok -> unlent()
  :: ok && (fails || !room) -> ok=0; if :: held -> giveSlot() :: else -> skip fi; unlent()
  :: ok && !fails && room && held -> ok=0; giveSlot(); lent++
  :: ok && !fails && room && !held -> ok=0; unlent()                         /* set aside while Watch was called */
  fi;
  finished++
}
proctype Timer() {
  byte was=0; bit ok=0, held=0;
  if
  :: state==RUNNING ->
#if BUG==10
     atomic { if :: state==RUNNING -> state=OVERDUE; ok=1 :: else -> ok=0 fi };
     if :: ok -> overdue++ :: else -> skip fi; ok=0
#else
     overdue++;                                                              /* @ open.go hang overdue.Inc */
     atomic { if :: state==RUNNING -> state=OVERDUE; ok=1 :: else -> ok=0 fi };      /* @ open.go hang state.CompareAndSwap */
     if :: ok -> ok=0 :: else -> overdue-- fi                                /* @ open.go hang overdue.Dec */
#endif
  :: true -> skip
  fi;
  if
  :: true -> end(ABANDONED); if :: ok -> ok=0; if :: held -> giveSlot() :: else -> skip fi; unlent() :: else -> skip fi
  :: true -> skip
  fi;
  finished++
}
/* Whoever needs the room or the slot of an attempt that is overdue; or one that is readmitted, and
   takes the slot of this one, if it has any. */
proctype Needer() {
  byte was=0; bit ok=0;
  if
#if BUG==18
  :: true -> atomic { if :: state<ENDED -> was=state; state=REPLACED; ok=1 :: else -> ok=0 fi };
#else
  :: true -> atomic { if :: state<ASIDE -> was=state; state=REPLACED; ok=1 :: else -> ok=0 fi };
#endif
     if
     :: ok && (was==OVERDUE || was==GIVENUP) -> atomic { assert(overdue>0); overdue-- }
     :: else -> skip
     fi;
     if :: ok -> giveSlot() :: else -> skip fi
  :: true -> atomic { if :: state==OVERDUE -> state=GIVENUP :: else -> skip fi }        /* @ aside.go giveUp state.CompareAndSwap */
  :: true -> atomic { if :: !aside -> aside=1; ok=1 :: else -> ok=0 fi };    /* @ aside.go setAside aside.CompareAndSwap */
     if
     :: ok -> atomic { if :: state==OVERDUE -> state=ASIDE :: else -> ok=0 fi };        /* @ aside.go setAside state.CompareAndSwap */
        if
        :: ok ->
#if BUG==12
           skip                                                              /* the slot is not given back */
#else
           giveSlot();                                                       /* @ aside.go setAside conns.Sub */
                                                                             /* @ aside.go setAside ring.Vacate */
           atomic { assert(overdue>0); overdue-- }                           /* @ aside.go setAside overdue.Dec */
#endif
        :: else -> aside=0                                                   /* @ aside.go setAside aside.CompareAndSwap #2 */
        fi
     :: else -> skip
     fi
  fi;
  finished++
}
#endif

#ifdef GONE
#ifndef CONNS
#define CONNS 2
#endif
#ifndef CLOSERS
#define CLOSERS 1
#endif
byte unclosed=CONNS, opening=0, workers=1, closes=0, quiets=0; bit MAX=1, CLOSED=0; byte gone=0;
bit ended[CONNS+1], slotless=0, isOver=0, tries=0;    /* tries: counted, and about to be taken back */
inline noteQuiet() {
  if
  :: gone==1 ->
     if
     :: workers==0 ->
        atomic { if :: gone==1 -> gone=2; ok=1 :: else -> ok=0 fi };         /* @ close.go noteQuiet gone.CompareAndSwap */
        if :: ok -> ok=0; atomic { quiets++; assert(quiets==1 && workers==0) } :: else -> skip fi      /* @ close.go noteQuiet quiet.close */
     :: else -> skip
     fi
  :: else -> skip
  fi
}
inline noteAllGone() {
  if
  :: CLOSED ->
#if BUG==13
     n=unclosed; if :: opening==0 && n==0 -> ok=1 :: else -> ok=0 fi;        /* the counts in the wrong order */
#else
     n=opening; if :: n==0 && unclosed==0 -> ok=1 :: else -> ok=0 fi;
#endif
     if
     :: ok -> ok=0;
#if BUG==6
        if :: !gone -> gone=1; atomic { closes++; assert(closes==1) } :: else -> skip fi
#else
        atomic { if :: !gone -> gone=1; ok=1 :: else -> ok=0 fi };           /* @ close.go noteAllGone gone.CompareAndSwap */
        if
        :: ok -> ok=0;
           atomic { closes++; assert(closes==1 && opening==0 && unclosed==tries && !slotless) };     /* @ close.go noteAllGone allGone.close */
           noteQuiet()
        :: else -> skip
        fi
#endif
     :: else -> skip
     fi
  :: else -> skip
  fi
}
inline workerEnded() {
  atomic { assert(workers>0); workers-- };                                   /* @ close.go workerEnded workers.Dec */
#if BUG!=14
  noteQuiet()
#else
  skip
#endif
}
inline over(i) {
  atomic { if :: !ended[i] -> ended[i]=1; ok=1 :: else -> ok=0 fi };
  if
  :: ok -> ok=0; atomic { assert(unclosed>0); unclosed-- };                  /* @ close.go forget unclosed.Dec */
     noteAllGone()
  :: else -> skip
  fi
}
proctype Close(byte i) { byte n; bit ok=0; over(i); finished++ }             /* @ close.go callClose ended.CompareAndSwap #2 */
proctype CloseTimer(byte i) { byte n; bit ok=0; if :: true -> over(i) :: true -> skip fi; finished++ }      /* @ close.go callClose ended.CompareAndSwap */
/* What an attempt opens when the pool is closed already: it is counted, and closed. */
proctype LateClose() {
  byte n; bit ok=0;
  atomic { assert(unclosed>0); unclosed-- };
  noteAllGone();
  finished++
}
/* Somebody takes the attempt's slot, once. */
proctype SetAside() {
  byte n; bit ok=0;
#if BUG!=19 && BUG!=20
  atomic { unclosed++; tries=1 };                                            /* @ aside.go setAside unclosed.Inc */
#endif
  atomic { if :: !isOver -> slotless=1; tries=0; ok=1 :: else -> ok=0 fi };
  if
  :: ok -> ok=0;
#if BUG==20
     unclosed++;
#endif
     opening--
  :: else ->
#if BUG!=19 && BUG!=20
     atomic { assert(unclosed>0); unclosed--; tries=0 }
#else
     skip
#endif
  fi;
  noteAllGone();
  finished++
}
proctype Attempt() {
  byte n; bit ok=0;
  atomic { if :: MAX -> opening++; ok=1 :: else -> ok=0 fi };                /* admitted by the census */
  if
  :: ok -> ok=0;
     workers++;                                                              /* @ open.go begin workers.Inc */
#ifdef ASIDE
     if :: true -> skip :: true -> atomic { run SetAside(); expected++ } fi;
#endif
     if
     :: slotless -> atomic { if :: MAX -> opening++; ok=1 :: true -> ok=0 fi };
        if
        :: ok -> ok=0; slotless=0;                                           /* it is readmitted */
#if BUG!=19
           atomic { assert(unclosed>0); unclosed-- };                        /* @ aside.go readmit unclosed.Dec */
#endif
           isOver=1
        :: else -> skip
        fi
     :: true -> skip
     fi;
     atomic { if :: slotless -> ok=1 :: else -> isOver=1; ok=0 fi };         /* it ends */
     if
     :: ok -> ok=0;
        if
        :: true -> unclosed++; atomic { run LateClose(); expected++ }        /* it has opened what there is no slot for */
        :: true -> skip                                                      /* it has failed */
        fi;
        slotless=0;
#if BUG!=19
        atomic { assert(unclosed>0); unclosed-- };
#endif
        noteAllGone()
     :: !ok && isOver ->
        unclosed++;                                                          /* @ open.go opened unclosed.Inc */
                                                                             /* @ open.go unlent unclosed.Inc */
        opening--;
        atomic { if :: CLOSED -> skip fi; run LateClose(); expected++ }      /* until then it is lent, or idle */
     :: !ok && isOver ->                                                     /* it fails */
        opening--;
#if BUG!=12
        noteAllGone()
#else
        skip
#endif
     fi;
     workerEnded()
  :: else -> skip
  fi;
  finished++
}
proctype Sweeper() { byte n; bit ok=0; if :: CLOSED -> skip fi; workerEnded(); finished++ }
proctype Shut() {
  byte n; bit ok=0;
  MAX=0;
  CLOSED=1;
#if BUG!=7
  noteAllGone();
#endif
  finished++
}
#endif

init {
  byte k=0;
  atomic {
#ifdef CALL
    run Asker(); run Limiter(); expected=expected+2;
#ifdef LOOK
    run Get(); expected++;
#endif
#ifdef REVOKE
    run Revoker(); expected++;
#endif
#endif
#ifdef ATTEMPT
    run Opener(); run Timer(); run Needer(); run Needer(); expected=expected+4;
#endif
#ifdef GONE
    do :: k<CONNS -> run Close(k); run CloseTimer(k); k++; expected=expected+2 :: else -> break od; k=0;
    run Attempt(); run Sweeper(); expected=expected+2;
    do :: k<CLOSERS -> run Shut(); k++; expected++ :: else -> break od;
#endif
    skip
  }
  timeout;
  atomic {
    assert(finished==expected);
#ifdef CALL
    assert(phase==IDLE && inSlot || phase==VACANT && emptied==1 || tenant && phase==LEASED && emptied==1);            /* no slot is lost */
#ifdef LOOK
    assert(adrift==0 && (given || phase==VACANT || tenant));
#endif
    assert(probing==0);
#endif
#ifdef ATTEMPT
    assert(overdue==0 && slots==0 && !aside && lent+closed==opened);         /* the slot comes back once, and what was opened is lent or closed, once */
#endif
#ifdef GONE
    assert(unclosed==0 && gone==2 && closes==1 && quiets==1 && workers==0)
#endif
  }
}
