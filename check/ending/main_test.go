package ending

import (
	"testing"

	"github.com/S4AK4N/pool/internal/leftover"
)

func TestMain(m *testing.M) { leftover.Main(m) }
